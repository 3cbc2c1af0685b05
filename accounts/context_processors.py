from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Membership, User


def page_header(request: HttpRequest) -> dict[str, Any]:
    """What every page's header shows: the app's name, where the visitor is, and where else they could be."""
    user = getattr(request, "user", None)

    def memberships() -> list[Membership]:
        known: list[Membership] | None = getattr(request, "memberships", None)
        if known is not None:
            return known
        if not isinstance(user, User):
            return []
        return list(user.memberships.select_related("customer").order_by("customer__name"))

    return {
        "app_name": settings.APP_NAME,
        "signup_open": settings.SIGNUP_OPEN,
        "customer": getattr(request, "customer", None),
        "memberships": SimpleLazyObject(memberships),
    }
