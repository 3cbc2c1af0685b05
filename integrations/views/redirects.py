"""Redirects to SnapInspect's page and away from our callback: what stands in those addresses is kept by nobody."""

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect

from integrations.snapinspect import authorization


def to_snapinspect(state: str) -> HttpResponse:
    """Sends the browser to SnapInspect's page, from where it comes back with this state."""
    return _leaving(
        authorization.authorization_url(
            settings.SNAPINSPECT_CONNECT_URL,
            client_id=settings.SNAPINSPECT_CLIENT_ID,
            redirect_uri=settings.SNAPINSPECT_REDIRECT_URI,
            allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
            state=state,
        )
    )


def clean(address: str) -> HttpResponse:
    """Leads from the callback to an address of ours that holds no secret."""
    response = _leaving(address)
    response.status_code = 303
    response["Content-Security-Policy"] = "default-src 'none'"
    return response


def _leaving(address: str) -> HttpResponse:
    response = HttpResponseRedirect(address)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response
