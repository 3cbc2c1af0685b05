"""The hosted Connect page: for people of the operator's customers, without an account here.

See `connecting.sessions` for what binds a session to a browser.
"""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit
from integrations.connecting import completion, oauth_state, sessions, unused_pairs
from integrations.models import ConnectAttempt, ConnectSession, Purpose
from integrations.snapinspect import authorization
from integrations.tokens import lease
from integrations.tokens.encryption import CannotUnseal
from integrations.views.redirects import redirect_from_callback, redirect_to_snapinspect

Status = ConnectSession.Status
# "__Host-" makes browsers refuse one that another host or a plain connection sets (RFC 6265bis section 4.1.3.2).
COOKIE = "__Host-connect" if settings.SESSION_COOKIE_SECURE else "connect"


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest, secret: str) -> HttpResponse:
    """What will happen, for whom, and the button. Looking changes nothing; the button leads to SnapInspect."""
    session = sessions.find(secret)
    browser = request.COOKIES.get(COOKIE) or sessions.new_browser()
    if session is None or not sessions.is_open_to(session, browser) or not settings.SNAPINSPECT_CLIENT_ID:
        return _gone(request)
    if request.method == "GET":
        context = {"session": session, "client": session.customer, "connection": session.connection}
        return _keeping(render(request, "integrations/hosted_connect.html", context), browser)
    if not sessions.start(session, browser):
        return _gone(request)
    audit.record(
        "connect.started", customer=session.customer, subject=session.connection.code if session.connection else ""
    )
    leave = redirect_to_snapinspect(
        request,
        Purpose.HOSTED,
        customer=session.customer,
        connection=session.connection,
        hosted=session,
        browser=browser,
    )
    return _keeping(leave, browser)


@login_not_required
@never_cache
@require_GET
def returned(request: HttpRequest, session_code: str) -> HttpResponse:
    """*Connecting…* until it is known how it ended, then the way back to the operator's product."""
    session = sessions.find_started(session_code, request.COOKIES.get(COOKIE, ""))
    if session is None:
        return _gone(request)
    status = sessions.status(session)
    if status in {Status.OPEN, Status.STARTED}:
        return _waiting(request, session)
    # Not as HttpResponseRedirect: it refuses the schemes of apps, which CONNECT_RETURN_ORIGINS may list.
    response = HttpResponse(status=303)
    response["Location"] = sessions.return_address(session, status)
    response["Referrer-Policy"] = "no-referrer"
    return response


@login_not_required
@never_cache
@require_POST
def answer(request: HttpRequest, session_code: str) -> HttpResponse:
    """The answer to "this is another company than before"."""
    session = sessions.find_started(session_code, request.COOKIES.get(COOKIE, ""))
    if session is None:
        return _gone(request)
    connection = sessions.question(session)
    if connection is not None:
        add = request.POST.get("answer") == "add"
        try:
            done = completion.answer_question(connection, add=add, by=None)
        except (lease.LostLease, CannotUnseal, IntegrityError):
            return _waiting(request, session)
        if done is None and not add:
            sessions.drop(session)
    # Not a redirect: the Content-Security-Policy would apply `form-action` to the way back to the operator's product.
    return _waiting(request, session)


def finish_callback(
    request: HttpRequest, came: authorization.AuthorizationResponse, begun: ConnectAttempt
) -> HttpResponse:
    """Stores what SnapInspect sent for this session, and leads to the page that waits for the end."""
    browser = request.COOKIES.get(COOKIE, "")
    session = begun.hosted
    if session is None or sessions.find_started(session.code, browser) is None:
        # Nothing is used up: a link scanner must not end what the person is about to finish.
        unused_pairs.keep(begun, came.pair, may_still_be_used=True)
        return redirect_from_callback(reverse("connect_ended", args=["hosted-over"]))
    with transaction.atomic():
        attempt, refusal = oauth_state.redeem(came.state, session_key=browser, user=None)
        if attempt is None or refusal not in {None, oauth_state.Refusal.EXPIRED}:
            # A second time, or the browser's back button: the page says what became of the first one.
            unused_pairs.keep(begun, came.pair)
            return redirect_from_callback(reverse("hosted_returned", args=[session.code]))
        if refusal is not None:
            sessions.end(session, Status.EXPIRED)
            unused_pairs.keep(attempt, came.pair)
        elif came.pair is None:
            sessions.end(session, Status.DECLINED if came.problem == "declined" else Status.FAILED)
        elif not sessions.receive(session, attempt, came.pair):
            # The other of two tabs was first.
            refusal = oauth_state.Refusal.USED
            unused_pairs.keep(attempt, came.pair)
        outcome = str(refusal or came.problem or "allowed")[:30]
        ConnectAttempt.objects.filter(pk=attempt.pk).update(outcome=outcome)
    return redirect_from_callback(reverse("hosted_returned", args=[session.code]))


def has_started(request: HttpRequest) -> bool:
    """Whether this browser has pressed the button of a session that may still end."""
    return sessions.has_started(request.COOKIES.get(COOKIE, ""))


def _waiting(request: HttpRequest, session: ConnectSession) -> HttpResponse:
    context = {"session": session, "client": session.customer, "asking": sessions.question(session)}
    response = render(request, "integrations/hosted_waiting.html", context)
    if context["asking"] is None:
        response["Refresh"] = f"1; url={reverse('hosted_returned', args=[session.code])}"
    return response


def _gone(request: HttpRequest) -> HttpResponse:
    """One calm page, whether an address is used, expired, another browser's or made up."""
    return render(request, "integrations/hosted_gone.html", status=410)


def _keeping(response: HttpResponse, browser: str) -> HttpResponse:
    # Lax: Strict would not arrive with the browser's return from SnapInspect's site.
    seconds = round(2 * ConnectSession.LIFETIME.total_seconds())
    response.set_cookie(
        COOKIE, browser, max_age=seconds, secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax"
    )
    return response
