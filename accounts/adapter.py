from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest

# What the e-mail columns hold, here and in allauth; RFC 5321 allows no more.
LONGEST_EMAIL = 254


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    def clean_email(self, email: str) -> str:
        # allauth's forms allow 320 characters: SQLite would keep them, PostgreSQL answer with an error page.
        MaxLengthValidator(LONGEST_EMAIL)(email)
        return str(super().clean_email(email))
