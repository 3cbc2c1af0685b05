"""What the link of an invitation leads to: joining, with an account or by a sign-up for it."""

from typing import Any

from allauth.account.views import SignupView
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import invitations
from accounts.forms import InvitedSignupForm
from accounts.models import Invitation, User


@never_cache
@login_not_required
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Says who invites to what, with a button to join for the user whose address is invited."""
    found = invitations.find(token)
    if found is None:
        return _gone(request)
    visitor = request.user
    fits = isinstance(visitor, User) and invitations.is_for(found, visitor)
    if request.method == "POST" and isinstance(visitor, User) and fits:
        if not invitations.accept(found, visitor):
            return _gone(request)
        messages.success(request, f"You joined {found.customer.name}.")
        return redirect("dashboard", found.customer.code)
    return render(
        request,
        "accounts/invitation.html",
        {"invitation": found, "fits": fits, "here": request.path, "signup": reverse("invited_signup", args=[token])},
    )


@method_decorator(login_not_required, name="dispatch")
class InvitedSignupView(SignupView):
    """Sign-up for the address of an invitation, also where sign-up is closed.

    It creates no company and mails nothing: following the link has proven the address.
    """

    template_name = "accounts/invited_signup.html"
    invitation: Invitation
    token: str

    def dispatch(self, request: HttpRequest, *args: Any, token: str, **kwargs: Any) -> HttpResponseBase:
        found = invitations.find(token)
        if found is None:
            return _gone(request)
        if request.user.is_authenticated:
            return redirect("invitation", token)
        self.invitation, self.token = found, token
        return super().dispatch(request, *args, **kwargs)

    def is_open(self) -> bool:
        return True

    def get_form_class(self) -> type[InvitedSignupForm]:
        return InvitedSignupForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "invitation": self.invitation}

    def get_success_url(self) -> str:
        return reverse("dashboard", args=[self.invitation.customer.code])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "invitation": self.invitation, "token": self.token}

    def form_valid(self, form: Form) -> HttpResponse:
        try:
            return super().form_valid(form)
        except (Invitation.DoesNotExist, IntegrityError):
            # Submitted twice: the other request was faster.
            return _gone(self.request)


def _gone(request: HttpRequest) -> HttpResponse:
    context = {"days": invitations.LIFETIME.days}
    return render(request, "accounts/invitation_gone.html", context, status=404)
