"""Redirects to SnapInspect's page and away from our callback, told to caches and referrers as secret."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from accounts.models import Customer, User
from integrations.connecting import oauth_state
from integrations.models import Connection, ConnectSession, Purpose
from integrations.snapinspect import authorization


def redirect_to_snapinspect(
    request: HttpRequest,
    purpose: Purpose,
    *,
    user: User | None = None,
    customer: Customer | None = None,
    connection: Connection | None = None,
    hosted: ConnectSession | None = None,
    browser: str = "",
) -> HttpResponse:
    """Sends the browser to SnapInspect's page, with a new state for its session; see `oauth_state.issue`.

    hosted, browser: a session of the hosted Connect page, and the cookie of the browser that has started it.

    Under another host name than the redirect URI's, it leads to this app under that name first: the callback would not
    get this session's cookie.
    """
    registered = urlsplit(settings.SNAPINSPECT_REDIRECT_URI)
    if urlsplit(f"//{request.get_host()}").hostname != registered.hostname:
        return _private_redirect(f"{registered.scheme}://{registered.netloc}/")
    state = oauth_state.issue(
        session_key=browser if hosted else request.session.session_key or "",
        purpose=purpose,
        user=user,
        customer=customer,
        connection=connection,
        hosted=hosted,
    )
    return _private_redirect(
        authorization.authorization_url(
            settings.SNAPINSPECT_CONNECT_URL,
            client_id=settings.SNAPINSPECT_CLIENT_ID,
            redirect_uri=settings.SNAPINSPECT_REDIRECT_URI,
            allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
            state=state,
        )
    )


def redirect_from_callback(address: str) -> HttpResponse:
    """Sends the browser from the callback to an address of ours that holds no secret."""
    response = _private_redirect(address)
    response.status_code = 303
    response["Content-Security-Policy"] = "default-src 'none'"
    return response


def _private_redirect(address: str) -> HttpResponse:
    response = HttpResponseRedirect(address)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response
