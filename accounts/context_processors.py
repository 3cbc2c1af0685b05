from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Membership, User


def page_header(request: HttpRequest) -> dict[str, Any]:
    """The app's name, the customer of the page, and all customers of the visitor, which access.customer_for() read."""
    user = getattr(request, "user", None)

    def memberships() -> list[Membership]:
        if hasattr(request, "memberships"):
            return list(request.memberships)
        if not isinstance(user, User):
            return []
        return list(user.memberships.select_related("customer").order_by("customer__name"))

    return {
        "app_name": settings.APP_NAME,
        "signup_open": settings.SIGNUP_OPEN,
        "customer": getattr(request, "customer", None),
        "memberships": SimpleLazyObject(memberships),
    }
