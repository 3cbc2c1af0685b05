"""Sign in with SnapInspect: for people who have linked their SnapInspect user before, while they were signed in.

The callback only stores what came back. A worker finds out whose it is (`connecting.sign_in`), and the page that waits
for it signs the person in, in the browser session that began and in no other.
"""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts import audit, external_sign_in
from accounts.models import User
from integrations import wording
from integrations.connecting import oauth_state, sign_in, unused_pairs
from integrations.models import ConnectAttempt, Purpose, SignInOutcome
from integrations.snapinspect.authorization import AuthorizationResponse
from integrations.tokens import guest_tokens
from integrations.views.htmx import answer_to_waiting
from integrations.views.redirects import redirect_from_callback, redirect_to_snapinspect


def require_offered() -> None:
    """Raises Http404 where signing in with SnapInspect has not been set up."""
    if not (settings.SNAPINSPECT_CLIENT_ID and settings.SNAPINSPECT_SIGN_IN_FIELD):
        raise Http404


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Says where this leads, and sends a browser in which nobody is signed in to SnapInspect's page."""
    require_offered()
    if request.user.is_authenticated:
        return redirect("home")
    if request.method == "GET":
        # No link can start it, and the sign-in page has one button of that name.
        return render(request, "integrations/sign_in_start.html", {"next": external_sign_in.next_url(request)})
    refused = external_sign_in.begin(request)
    if refused is not None:
        return refused
    return redirect_to_snapinspect(request, Purpose.SIGN_IN)


def finish_callback(request: HttpRequest, came: AuthorizationResponse, attempt: ConnectAttempt) -> HttpResponse:
    """Stores what the callback got for a link or a sign-in, and leads to the page that waits for its outcome."""
    user = request.user if isinstance(request.user, User) else None
    key = request.session.session_key
    if key is None or (user is None and attempt.user is not None):
        # Without the session nothing is used up: a link scanner must not end what the person is about to finish.
        unused_pairs.keep(attempt, came.pair, may_still_be_used=True)
        return _end(attempt, "signed-out", actor=None)

    with transaction.atomic():
        _, refusal = oauth_state.redeem(came.state, session_key=key, user=user)
        if refusal is not None:
            unused_pairs.keep(attempt, came.pair)
            return _end(attempt, "used" if refusal == oauth_state.Refusal.USED else refusal, actor=user)
        if came.pair is None:
            ending = "declined" if came.problem == "declined" else "garbled"
            return _end(attempt, ending, actor=user)
        guest_tokens.receive(attempt, came.pair)
        ConnectAttempt.objects.filter(pk=attempt.pk).update(outcome="allowed")
    return redirect_from_callback(reverse("signing_in" if attempt.purpose == Purpose.SIGN_IN else "snapinspect_user"))


@login_not_required
@never_cache
@require_GET
def signing_in(request: HttpRequest) -> HttpResponse:
    """Waits until SnapInspect has said who this is, and signs them in."""
    require_offered()
    guest_pair = oauth_state.latest_guest_pair(request.session.session_key, Purpose.SIGN_IN)
    is_waiting = guest_pair is not None and not guest_pair.outcome
    answer = answer_to_waiting(request, is_waiting=is_waiting)
    if answer is not None:
        return answer
    if request.user.is_authenticated:
        return redirect("home")
    if guest_pair is None or guest_pair.used_at is not None:
        return redirect("account_login")
    if is_waiting:
        return render(request, "integrations/sign_in_waiting.html")
    person = sign_in.find_linked_user(guest_pair.vendor_user_id) if guest_pair.outcome == SignInOutcome.KNOWN else None
    if person is None:
        known_before = guest_pair.outcome == SignInOutcome.KNOWN  # and unlinked since
        ending = SignInOutcome.UNKNOWN if known_before else SignInOutcome(guest_pair.outcome)
        return _not_signed_in(request, ending)
    if not external_sign_in.may_sign_in(person):
        return _not_signed_in(request, "second-factor")
    with transaction.atomic():
        if not guest_pair.use():  # the same page in another tab was faster
            return redirect("home")
        audit.record("sign_in.signed_in", actor=person, snapinspect_user=guest_pair.vendor_user_id)
    return external_sign_in.complete(request, person)


def _not_signed_in(request: HttpRequest, ending: str) -> HttpResponse:
    return render(request, "integrations/connect_ended.html", {"words": wording.NOT_SIGNED_IN[ending]})


def _end(attempt: ConnectAttempt, ending: str, *, actor: User | None) -> HttpResponse:
    """Records how a return ended whose tokens are not used."""
    is_new = ConnectAttempt.objects.filter(pk=attempt.pk, outcome="").update(outcome=ending) == 1
    # Anybody may begin a sign-in: coming back with it again and again must not fill the audit trail.
    if is_new or actor or attempt.user:
        audit.record(f"{attempt.purpose}.{ending}", actor=actor or attempt.user)
    purpose = "sign-in" if attempt.purpose == Purpose.SIGN_IN else "link"
    page = ending if ending in {"declined", "garbled"} else "over"
    return redirect_from_callback(reverse("connect_ended", args=[f"{purpose}-{page}"]))
