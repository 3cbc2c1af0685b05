from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import brand
from accounts.access import customers_of
from accounts.models import Customer, User


def page_header(request: HttpRequest) -> dict[str, Any]:
    """The operator's brand, the customer of the page, and the visitor's customers."""
    user = getattr(request, "user", None)

    def customers() -> list[Customer]:
        if hasattr(request, "customers"):  # read by access.customer_for()
            return list(request.customers)
        return customers_of(user) if isinstance(user, User) else []

    def last_used() -> Customer | None:
        """For the navigation on pages of the visitor's own account."""
        if not isinstance(user, User):
            return None
        return min(mine, key=lambda one: one.pk != user.last_customer_id, default=None)

    is_account_page = request.path.startswith("/accounts/")
    mine: list[Customer] = SimpleLazyObject(customers)  # type: ignore[assignment]
    return {
        **brand.context(),
        "signup_open": settings.SIGNUP_OPEN,
        "customer": SimpleLazyObject(last_used) if is_account_page else getattr(request, "customer", None),
        "customers": mine,
    }
