"""A user's own account, beside allauth's pages: their name, which mails they get, and closing the account."""

from contextlib import suppress

from allauth.account.decorators import reauthentication_required
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts import audit, mail_preferences
from accounts.access import current_user
from accounts.forms import ProfileForm
from accounts.models import LastOwner, Membership, Role, User


@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """The name that other members see."""
    user = current_user(request)
    form = ProfileForm(request.POST or None, instance=user)
    if request.method == "GET" or not form.is_valid():
        return render(request, "accounts/profile.html", {"form": form})
    User.objects.filter(pk=user.pk).update(**form.cleaned_data)
    messages.success(request, "Saved.")
    return redirect("profile")


@require_http_methods(["GET", "POST"])
def notifications(request: HttpRequest) -> HttpResponse:
    """Which mails this user wants, by company."""
    user = current_user(request)
    memberships = user.memberships.select_related("customer", "user").order_by("customer__name", "pk")
    if request.method == "GET":
        return render(
            request, "accounts/notifications.html", {"wishes": memberships, "digest_hour": mail_preferences.DIGEST_HOUR}
        )
    for membership in memberships:
        mail_preferences.save(
            membership,
            trouble_mails=f"trouble-{membership.pk}" in request.POST,
            daily_digest=f"digest-{membership.pk}" in request.POST,
        )
    messages.success(request, "Saved.")
    return redirect("notifications")


# A mail program that follows List-Unsubscribe has no cookie, hence no CSRF token: the signature in the URL authorizes
# it (RFC 8058). GET changes nothing: link scanners open every URL in a mail.
@csrf_exempt
@never_cache
@login_not_required
@require_http_methods(["GET", "POST"])
def stop_mails(request: HttpRequest, signed: str) -> HttpResponse:
    """Ends the mails that the signed URL names, signed in or not."""
    what_and_pk = mail_preferences.read_unsubscribe(signed)
    if what_and_pk is None:
        return render(request, "accounts/stop_mails.html", {"broken": True}, status=404)
    what, pk = what_and_pk
    if request.method == "POST":
        mail_preferences.unsubscribe(what, pk)
    return render(
        request,
        "accounts/stop_mails.html",
        {"digest": what == mail_preferences.DIGEST, "stopped": request.method == "POST"},
    )


@require_http_methods(["GET", "POST"])
@reauthentication_required
def close(request: HttpRequest) -> HttpResponse:
    """Closes this user's account for good, unless a company would be left without an owner."""
    user = current_user(request)
    memberships = user.memberships.select_related("customer").order_by("customer_id")
    if request.method == "GET":
        owned = [membership.customer for membership in memberships if membership.role == Role.OWNER]
        context = {
            "memberships_here": memberships,
            "only_owner_of": [customer for customer in owned if not customer.has_other_owner(user)],
        }
        return render(request, "accounts/close.html", context)
    email = user.email
    try:
        _close(user, list(memberships))
    except LastOwner:
        messages.error(request, "You are the only owner of a company. Make someone else an owner first.")
        return redirect("close_account")
    logout(request)
    messages.success(request, f"The account of {email} is closed.")
    return redirect("home")


def _close(user: User, memberships: list[Membership]) -> None:
    with transaction.atomic():
        # Companies in the same order for everybody: two users who close at once do not deadlock.
        for membership in memberships:
            # An owner may have removed this person meanwhile.
            with suppress(Membership.DoesNotExist):
                membership.end()
            audit.record("account.closed", customer=membership.customer, actor=user, person=user.email)
        for session in UserSession.objects.filter(user=user):
            session.end()
        user.delete()
