"""How allauth signs people up and mails them (https://docs.allauth.org/en/latest/account/adapter.html)."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest

from accounts import branded_mail, known_browsers
from accounts.models import MAX_EMAIL_LENGTH


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "account_inactive": "Sign-in is disabled for this account.",
        "cannot_remove_primary_email": "You cannot remove your main address.",
        "duplicate_email": "This is already one of your addresses.",
        "email_password_mismatch": "The email address or the password is wrong.",
        "email_taken": "This address already has an account.",
        "enter_current_password": "Enter your current password.",
        "incorrect_code": "The code is wrong.",
        "incorrect_password": "The password is wrong.",
        "invalid_or_expired_key": "The link no longer works.",
        "invalid_login": "The email address or the password is wrong.",
        "invalid_password_reset": "The link no longer works.",
        "max_email_addresses": "You can have at most %d addresses.",
        "rate_limited": "Too many attempts. Try again in a few minutes.",
        "same_as_current": "Enter something else than before.",
        "too_many_login_attempts": "Too many wrong passwords. Try again in a few minutes.",
        "unknown_email": "No account has this address.",
        "unverified_primary_email": "Confirm this address before you make it the main address.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    def is_safe_url(self, url: str) -> bool:
        """Whether `next` may lead there."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False  # such as http://[

    def clean_email(self, email: str) -> str:
        # allauth's forms allow 320 characters: SQLite would keep them, PostgreSQL would answer with an error page.
        MaxLengthValidator(MAX_EMAIL_LENGTH)(email)
        return str(super().clean_email(email))

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """What failed sign-ins are counted by: the address; in a browser that this person knows, that browser."""
        key = str(super()._get_login_attempts_cache_key(request, **credentials))
        return f"{key}:{known_browsers.identify(request, credentials.get('email', ''))}"

    def render_mail(
        self,
        template_prefix: str,
        email: str | list[str],
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> EmailMessage:
        """allauth's mail in our words and look: the template is named like its own, without _message and _subject."""
        context = {**context, "signup_open": settings.SIGNUP_OPEN}
        return branded_mail.message(f"{template_prefix}.txt", context, to=email, headers=headers)
