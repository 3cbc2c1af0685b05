from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import brand
from accounts.models import Customer, Membership, User


def page_header(request: HttpRequest) -> dict[str, Any]:
    """The operator's brand, the customer of the page, and the visitor's customers, which access.customer_for() read."""
    user = getattr(request, "user", None)

    def memberships() -> list[Membership]:
        if hasattr(request, "memberships"):
            return list(request.memberships)
        if not isinstance(user, User):
            return []
        return list(user.memberships.select_related("customer").order_by("customer__name"))

    def last_used() -> Customer | None:
        """For the navigation on pages of the visitor's own account."""
        if not isinstance(user, User):
            return None
        own = sorted(mine, key=lambda one: one.customer_id != user.last_customer_id)
        if not own:
            return None
        own[0].customer.role = own[0].role
        return own[0].customer

    is_account_page = request.path.startswith("/accounts/")
    mine: list[Membership] = SimpleLazyObject(memberships)  # type: ignore[assignment]
    return {
        **brand.context(),
        "signup_open": settings.SIGNUP_OPEN,
        "customer": SimpleLazyObject(last_used) if is_account_page else getattr(request, "customer", None),
        "memberships": mine,
    }
