"""Connect with SnapInspect: the redirect to its page, and the callback."""

from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import audit
from accounts.access import MAY_CONNECT, current_user, customer_for, may_connect_now
from accounts.models import Customer, User
from integrations import wording
from integrations.connecting import completion, oauth_state, unused_pairs
from integrations.models import ConnectAttempt, Connection, Purpose
from integrations.snapinspect import authorization
from integrations.tokens import custody, lease
from integrations.tokens.encryption import CannotUnseal
from integrations.views import hosted_connect, sign_in
from integrations.views.redirects import redirect_from_callback, redirect_to_snapinspect

MOST_UNKNOWN_AN_HOUR = 20


@require_POST
def start(request: HttpRequest, code: str, connection_code: str | None = None) -> HttpResponse:
    """Sends the browser to SnapInspect's page, for a new connection or to reconnect the one named."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = get_object_or_404(customer.connections, code=connection_code) if connection_code else None
    return refusal_unless_registered(request, customer) or begin(request, customer, connection)


def refusal_unless_registered(request: HttpRequest, customer: Customer) -> HttpResponse | None:
    """Where to go instead, with a message, while this app has no client ID."""
    if settings.SNAPINSPECT_CLIENT_ID:
        return None
    messages.error(request, "You cannot connect yet. This app is not registered with SnapInspect.")
    return redirect("dashboard", customer.code)


def begin(request: HttpRequest, customer: Customer, connection: Connection | None) -> HttpResponse:
    """The redirect to SnapInspect's page, for somebody who may connect and has pressed a button that says so."""
    user = current_user(request)
    audit.record("connect.started", customer=customer, actor=user, subject=connection.code if connection else "")
    return redirect_to_snapinspect(request, Purpose.CONNECT, user=user, customer=customer, connection=connection)


@login_not_required
@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """The redirect URI: stores what SnapInspect sent and leads to a clean address. Never renders or asks to sign in.

    The query is not in the request any more: `connectapp.redaction` took it out before Django saw it.
    """
    if not _arrived_safely(request):
        return HttpResponseBadRequest("This address is for https only.", content_type="text/plain")
    came = authorization.read_response(_query(request))
    if came.problem == "too_long":
        return redirect_from_callback(reverse("connect_ended", args=["garbled"]))
    begun = oauth_state.find(came.state)
    if begun is not None and begun.purpose == Purpose.HOSTED:
        return hosted_connect.finish_callback(request, came, begun)
    if begun is not None and begun.purpose != Purpose.CONNECT:
        return sign_in.finish_callback(request, came, begun)
    if not isinstance(request.user, User):
        return _refuse_signed_out(request, begun, came)
    user = request.user

    with transaction.atomic():
        attempt, refusal = oauth_state.redeem(came.state, session_key=request.session.session_key, user=user)
        if attempt is None or refusal is not None:
            if attempt is not None:
                unused_pairs.keep(attempt, came.pair)
            return _refuse(request, user, attempt, refusal or oauth_state.Refusal.UNKNOWN)
        if not may_connect_now(user, attempt.for_customer):
            unused_pairs.keep(attempt, came.pair)
            return _end(attempt, "not-allowed")
        if came.pair is None:
            return _return_without_tokens(request, attempt, came.problem or "no_token")
        connection = custody.receive(attempt, came.pair)
        _note(attempt, "allowed", subject=connection.code)
    return redirect_from_callback(reverse("dashboard", args=[attempt.for_customer.code]))


@login_not_required
@require_GET
def ended(request: HttpRequest, ending: str) -> HttpResponse:
    """Says why a return from SnapInspect led to no connection."""
    words = wording.ENDINGS.get(ending)
    if words is None:
        raise Http404
    context = {"words": words, "is_hosted": ending.startswith("hosted-")}
    return render(request, "integrations/connect_ended.html", context)


@require_POST
def answer(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The person's answer to "this is another company than before": add it as a connection of its own, or drop it."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = get_object_or_404(customer.connections, code=connection_code)
    add = request.POST.get("answer") == "add"
    try:
        added = completion.answer_question(connection, add=add, by=current_user(request))
    except (lease.LostLease, CannotUnseal, IntegrityError):
        messages.warning(request, "We could not do that right now. Try again in a moment.")
        return redirect("dashboard", customer.code)
    if added is not None:
        messages.success(request, f"{added.label} is connected too.")
    elif not add:
        messages.info(request, f"{connection.label} has not changed. We deleted the other company's access.")
    return redirect("dashboard", customer.code)


def _arrived_safely(request: HttpRequest) -> bool:
    """https, or http in the one case where the registered redirect URI itself is on a loopback host."""
    return request.is_secure() or (
        settings.SNAPINSPECT_REDIRECT_URI.startswith("http://")
        and urlsplit(f"http://{request.get_host()}").hostname in {"localhost", "127.0.0.1", "::1"}
    )


def _query(request: HttpRequest) -> str:
    sealed = request.META.get("connectapp.callback_query")
    return str(sealed.reveal()) if sealed is not None else ""


def _refuse_signed_out(
    request: HttpRequest, attempt: ConnectAttempt | None, came: authorization.AuthorizationResponse
) -> HttpResponse:
    """Without a session nothing is used up: a link scanner must not end what the person is about to finish."""
    if attempt is not None:
        # Only for a state that we issued, and once for each: strangers cannot fill the audit trail.
        _note_once(attempt, "signed-out", actor=None)
        unused_pairs.keep(attempt, came.pair, may_still_be_used=True)
    elif hosted_connect.has_started(request):
        # SnapInspect may leave out the state when somebody refuses. Anybody can have this address opened: nothing ends.
        return redirect_from_callback(reverse("connect_ended", args=["hosted-none"]))
    return redirect_from_callback(reverse("connect_ended", args=["signed-out"]))


def _refuse(
    request: HttpRequest, user: User, attempt: ConnectAttempt | None, refusal: oauth_state.Refusal
) -> HttpResponse:
    if refusal == oauth_state.Refusal.OTHER_PERSON and attempt is not None:
        _note_once(attempt, "other-person", actor=user)
        ConnectAttempt.objects.filter(pk=attempt.pk, outcome="").update(outcome=refusal)
        return redirect_from_callback(reverse("connect_ended", args=[refusal]))
    if attempt is None:
        audit.record_at_most(MOST_UNKNOWN_AN_HOUR, "connect.unknown", within=timedelta(hours=1), actor=user)
        return redirect_from_callback(reverse("connect_ended", args=[refusal]))
    if refusal == oauth_state.Refusal.USED:
        _note_once(attempt, "used", actor=user)
        messages.info(request, wording.ENDINGS["used"].text)
        return redirect_from_callback(reverse("dashboard", args=[attempt.for_customer.code]))
    return _end(attempt, refusal)


def _return_without_tokens(request: HttpRequest, attempt: ConnectAttempt, problem: str) -> HttpResponse:
    ending = problem if problem == "declined" else "no-token" if problem.startswith("no_") else "garbled"
    _note(attempt, problem)
    messages.warning(request, wording.ENDINGS[ending].text)
    return redirect_from_callback(reverse("dashboard", args=[attempt.for_customer.code]))


def _end(attempt: ConnectAttempt, ending: str) -> HttpResponse:
    _note(attempt, ending)
    return redirect_from_callback(reverse("connect_ended", args=[ending]))


def _note(attempt: ConnectAttempt, outcome: str, *, subject: str = "") -> None:
    ConnectAttempt.objects.filter(pk=attempt.pk).update(outcome=outcome[:30])  # the column's length
    audit.record(
        f"connect.{outcome}", customer=attempt.customer, actor=attempt.user, subject=subject or _subject(attempt)
    )


def _note_once(attempt: ConnectAttempt, what: str, *, actor: User | None) -> None:
    """At most one entry for each attempt, of what anybody who has an old address can repeat."""
    audit.record_at_most(
        1,
        f"connect.{what}",
        within=timedelta(days=365),
        customer=attempt.customer,
        actor=actor,
        subject=_subject(attempt),
        attempt=attempt.pk,
    )


def _subject(attempt: ConnectAttempt) -> str:
    return attempt.connection.code if attempt.connection else ""
