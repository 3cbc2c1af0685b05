"""The way in: the front door and signing up."""

import logging
from smtplib import SMTPException

from allauth.account.views import SignupView as AllauthSignupView
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator

from accounts.access import person
from accounts.models import Customer, User

logger = logging.getLogger(__name__)


@login_not_required
def home(request: HttpRequest) -> HttpResponse:
    """Strangers see what this is; people who are signed in go to the customer they used last."""
    if not request.user.is_authenticated:
        return render(request, "home.html")
    user = person(request)
    mine = Customer.objects.filter(memberships__user=user)
    customer = mine.filter(pk=user.last_customer_id or 0).first() or mine.first()
    if customer is None:
        return render(request, "accounts/no_customer.html")
    return redirect("dashboard", customer.code)


@method_decorator(login_not_required, name="dispatch")
class SignupView(AllauthSignupView):
    """allauth's sign-up, except that a confirmation mail which cannot be sent leaves nothing behind."""

    def form_valid(self, form: Form) -> HttpResponse:
        try:
            response: HttpResponse = super().form_valid(form)
        except IntegrityError:
            if not User.objects.filter(email__iexact=form.cleaned_data["email"]).exists():
                raise
            # Pressed twice: the other request of the same person was faster.
            messages.info(self.request, "This sign-up is done already. Please sign in.")
            return redirect("account_login")
        except (OSError, SMTPException):
            logger.exception("The confirmation mail of a sign-up could not be sent; the sign-up was undone.")
            self._undo()
            messages.error(
                self.request,
                "We could not send the confirmation mail, so nothing was saved. Try again later.",
            )
            return redirect("account_signup")
        return response

    def _undo(self) -> None:
        user = getattr(self, "user", None)
        if isinstance(user, User):
            Customer.objects.filter(memberships__user=user).delete()
            user.delete()
