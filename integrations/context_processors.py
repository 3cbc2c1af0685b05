"""Context of every page: its customer's connections that need a person, and what is set up here."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Customer
from integrations.models import Connection


def attention(request: HttpRequest) -> dict[str, Any]:
    """`needing_a_person`: the connections of this page's customer that wait for a person. One query."""
    customer = getattr(request, "customer", None)

    def needing_a_person() -> list[Connection]:
        if not isinstance(customer, Customer):
            return []
        return list(customer.connections.needing_a_person().order_by("pk"))

    return {"needing_a_person": SimpleLazyObject(needing_a_person)}


def connecting(request: HttpRequest) -> dict[str, Any]:
    """What is set up here: `is_registered` with SnapInspect, `sign_in_with_snapinspect`, and its host, `vendor`."""
    is_registered = bool(settings.SNAPINSPECT_CLIENT_ID)
    return {
        "is_registered": is_registered,
        "sign_in_with_snapinspect": is_registered and bool(settings.SNAPINSPECT_SIGN_IN_FIELD),
        "vendor": urlsplit(settings.SNAPINSPECT_CONNECT_URL).hostname,
    }
