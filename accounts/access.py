"""Who may do what: the customer of a URL for its members, the signed-in user, the operator's staff."""

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import Http404, HttpRequest

from accounts.kept_queries import KeptQuery
from accounts.models import Customer, Membership, Role, User

ANY_ROLE = frozenset(Role.values)
OWNERS = frozenset({Role.OWNER})
MAY_CONNECT = frozenset({Role.OWNER, Role.MEMBER})
# Recovery codes alone do not count as one.
SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)

_customers = KeptQuery(
    lambda user_id: Customer.objects.filter(memberships__user=user_id).annotate(  # type: ignore[no-redef]  # declared there for readers
        role=F("memberships__role")
    )
)


def customer_for(request: HttpRequest, code: str, *, roles: frozenset[str] = ANY_ROLE) -> Customer:
    """Returns the customer with this code, its `role` set to the visitor's. Views get a customer in no other way.

    Raises Http404 for a visitor who is no member, so that an existing customer and a made-up code look the same.
    Raises PermissionDenied for a member whose role is not among `roles`.
    """
    # All of the visitor's at once: the header of the page lists them, see accounts.context_processors.
    mine = customers_of(request.user)
    customer = next((one for one in mine if one.code == code), None)
    if customer is None:
        raise Http404
    if customer.role not in roles:
        raise PermissionDenied
    request.customer, request.customers = customer, mine  # type: ignore[attr-defined]
    return customer


def customers_of(user: User | AnonymousUser) -> list[Customer]:
    """The customers that this user belongs to, by name, each with its `role` set to theirs. One query."""
    return _customers(user.pk or 0)


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
