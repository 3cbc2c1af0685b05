"""Your account, SnapInspect: which SnapInspect user you are, so that you can sign in with it."""

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts import audit
from accounts.access import current_user
from integrations import wording
from integrations.connecting import oauth_state
from integrations.models import LinkedUser, Purpose, SignInOutcome
from integrations.views.htmx import answer_to_waiting
from integrations.views.redirects import redirect_to_snapinspect
from integrations.views.sign_in import require_offered


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """What is linked, or the button that links; and what has come of a link that was just begun."""
    require_offered()
    guest_pair = oauth_state.latest_guest_pair(request.session.session_key, Purpose.LINK)
    is_waiting = guest_pair is not None and not guest_pair.outcome
    answer = answer_to_waiting(request, is_waiting=is_waiting)
    if answer is not None:
        return answer
    trouble = ""
    if guest_pair and guest_pair.outcome not in {"", SignInOutcome.LINKED} and guest_pair.use():
        trouble = wording.NOT_LINKED[guest_pair.outcome]
    context = {
        "linked": LinkedUser.objects.filter(user=current_user(request)).first(),
        "is_waiting": is_waiting,
        "trouble": trouble,
    }
    return render(request, "integrations/snapinspect_user.html", context)


@require_POST
@reauthentication_required
def link(request: HttpRequest) -> HttpResponse:
    """Sends the browser to SnapInspect's page, to show which user this person is there."""
    require_offered()
    user = current_user(request)
    if LinkedUser.objects.filter(user=user).exists():
        messages.info(request, "You have already linked a SnapInspect login. Unlink it first.")
        return redirect("snapinspect_user")
    audit.record("link.started", actor=user)
    return redirect_to_snapinspect(request, Purpose.LINK, user=user)


@require_POST
def unlink(request: HttpRequest) -> HttpResponse:
    """Ends signing in with SnapInspect for this person; connections stay as they are."""
    require_offered()
    user = current_user(request)
    with transaction.atomic():
        linked = LinkedUser.objects.filter(user=user).first()
        if linked and linked.delete()[0]:
            audit.record("link.unlinked", actor=user, snapinspect_user=linked.vendor_user_id)
    messages.success(request, "SnapInspect login unlinked. Sign in with your email and password.")
    return redirect("snapinspect_user")
