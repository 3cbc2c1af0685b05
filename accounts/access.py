"""Who may do what: the customer of a URL for its members, the signed-in user, the operator's staff."""

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from accounts.kept_queries import KeptQuery
from accounts.models import Customer, Membership, Role, User

ANY_ROLE = frozenset(Role.values)
OWNERS = frozenset({Role.OWNER})
MAY_CONNECT = frozenset({Role.OWNER, Role.MEMBER})
# Recovery codes alone do not count as one.
SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)

_memberships = KeptQuery(
    lambda user_id: Membership.objects.select_related("customer").filter(user_id=user_id).order_by("customer__name")
)


def customer_for(request: HttpRequest, code: str, *, roles: frozenset[str] = ANY_ROLE) -> Customer:
    """Returns the customer with this code, its `role` set to the visitor's. Views get a customer in no other way.

    Raises Http404 for a visitor who is no member, so that an existing customer and a made-up code look the same.
    Raises PermissionDenied for a member whose role is not among `roles`.
    """
    # All memberships at once: the header of the page lists them, see accounts.context_processors.
    memberships = _memberships(request.user.pk or 0)
    membership = next((one for one in memberships if one.customer.code == code), None)
    if membership is None:
        raise Http404
    if membership.role not in roles:
        raise PermissionDenied
    customer = membership.customer
    customer.role = membership.role
    request.customer, request.memberships = customer, memberships  # type: ignore[attr-defined]
    return customer


def current_user(request: HttpRequest) -> User:
    """Returns the signed-in user. Raises PermissionDenied if nobody is signed in."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def current_staff(request: HttpRequest, permission: str = "") -> User:
    """Returns the signed-in member of the operator's staff who has this permission, if one is named.

    Raises PermissionDenied for anybody else.
    """
    user = current_user(request)
    if not user.is_staff or (permission and not user.has_perm(permission)):
        raise PermissionDenied
    return user


def has_second_factor(user: User) -> bool:
    return bool(is_mfa_enabled(user, SECOND_FACTORS))


def may_connect_now(user: User, customer: Customer) -> bool:
    """Whether this user may connect for this customer now: checked again when they return from SnapInspect."""
    return Membership.objects.filter(user=user, customer=customer, role__in=MAY_CONNECT).exists()
