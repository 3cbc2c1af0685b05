"""Sends a mail that its reader can unsubscribe from."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse

from accounts import mail_preferences, text_mail
from accounts.models import Customer

# While one worker sends a mail, the others leave it alone; if the mail server fails, it is tried again after this.
SENDING = timedelta(minutes=5)


def send(template: str, context: dict[str, Any], *, to: str, unsubscribe_path: str) -> None:
    """Mails the template's text with a way to unsubscribe; see accounts.text_mail."""
    unsubscribe = _origin() + unsubscribe_path
    headers = mail_preferences.unsubscribe_headers(unsubscribe)
    text_mail.send(template, {"stop": unsubscribe, **context}, to=to, headers=headers)


def dashboard_url(customer: Customer) -> str:
    return _origin() + reverse("dashboard", args=[customer.code])


def _origin() -> str:
    """Where this app is reached: the redirect URI's origin, since background work has no request to read it from."""
    scheme, _, rest = settings.SNAPINSPECT_REDIRECT_URI.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
