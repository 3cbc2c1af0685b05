"""How allauth signs people up (https://docs.allauth.org/en/latest/account/adapter.html)."""

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest

from accounts.models import MAX_EMAIL_LENGTH


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    def clean_email(self, email: str) -> str:
        # allauth's forms allow 320 characters: SQLite would keep them, PostgreSQL would answer with an error page.
        MaxLengthValidator(MAX_EMAIL_LENGTH)(email)
        return str(super().clean_email(email))
