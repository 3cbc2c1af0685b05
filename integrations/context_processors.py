"""What every page says: about its customer's connections, and what is set up here."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Customer
from integrations.models import Connection

# One is named, more are counted; beyond this many the count says "many".
COUNTED_AT_MOST = 20


def attention(request: HttpRequest) -> dict[str, Any]:
    """`needing_a_person`: the connections of this page's customer that only a person can bring back. One query."""
    customer = getattr(request, "customer", None)

    def needing_a_person() -> list[Connection]:
        if not isinstance(customer, Customer):
            return []
        return list(customer.connections.needing_a_person().order_by("pk")[:COUNTED_AT_MOST])

    return {"needing_a_person": SimpleLazyObject(needing_a_person)}


def offers(request: HttpRequest) -> dict[str, Any]:
    """`sign_in_with_snapinspect`: whether people can sign in with a SnapInspect user that they have linked."""
    return {"sign_in_with_snapinspect": bool(settings.SNAPINSPECT_CLIENT_ID and settings.SNAPINSPECT_SIGN_IN_FIELD)}


def before_you_go(request: HttpRequest) -> dict[str, Any]:
    """`vendor`: the host whose page a press on Connect leads to."""
    return {"vendor": urlsplit(settings.SNAPINSPECT_CONNECT_URL).hostname}
