from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import brand
from accounts.models import Membership, User


def page_header(request: HttpRequest) -> dict[str, Any]:
    """The operator's brand, the customer of the page, and the visitor's customers, which access.customer_for() read."""
    user = getattr(request, "user", None)

    def memberships() -> list[Membership]:
        if hasattr(request, "memberships"):
            return list(request.memberships)
        if not isinstance(user, User):
            return []
        return list(user.memberships.select_related("customer").order_by("customer__name"))

    return {
        **brand.context(),
        "signup_open": settings.SIGNUP_OPEN,
        "customer": getattr(request, "customer", None),
        "memberships": SimpleLazyObject(memberships),
    }
