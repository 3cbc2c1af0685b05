"""Sign-up with an e-mail address and a company."""

import logging

from allauth.account.views import SignupView as AllauthSignupView
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator

from accounts.models import Customer, User

logger = logging.getLogger(__name__)


@method_decorator(login_not_required, name="dispatch")
class SignupView(AllauthSignupView):
    """allauth's sign-up, except that nothing is saved if the confirmation mail cannot be sent."""

    def form_valid(self, form: Form) -> HttpResponse:
        try:
            response: HttpResponse = super().form_valid(form)
        except IntegrityError:
            if not User.objects.filter(email__iexact=form.cleaned_data["email"]).exists():
                raise
            # Submitted twice: the other request was faster.
            messages.info(self.request, "You already have an account. Sign in.")
            return redirect("account_login")
        except OSError:  # the base class of smtplib's errors
            logger.exception("The confirmation mail of a sign-up could not be sent; the sign-up was undone.")
            self._undo()
            messages.error(
                self.request,
                "We could not send the confirmation email, so no account was created. Try again later.",
            )
            return redirect("account_signup")
        return response

    def _undo(self) -> None:
        user = getattr(self, "user", None)
        if isinstance(user, User):
            Customer.objects.filter(memberships__user=user).delete()
            user.delete()
