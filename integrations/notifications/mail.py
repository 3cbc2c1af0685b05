"""Sends a mail that its reader can unsubscribe from."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse

from accounts import mail_preferences
from accounts.models import Customer

# While one worker sends a mail, the others leave it alone; if the mail server fails, it is tried again after this.
SENDING = timedelta(minutes=5)


def send(template: str, context: dict[str, Any], *, to: str, unsubscribe_path: str) -> None:
    """Sends the template's text, whose first line is the subject. Raises OSError, which SMTP's errors are too."""
    unsubscribe = _origin() + unsubscribe_path
    text = render_to_string(template, {"app_name": settings.APP_NAME, "stop": unsubscribe, **context})
    subject, _, body = text.strip().partition("\n")
    headers = mail_preferences.unsubscribe_headers(unsubscribe)
    EmailMessage(subject.strip(), body.strip() + "\n", to=[to], headers=headers).send()


def dashboard_url(customer: Customer) -> str:
    return _origin() + reverse("dashboard", args=[customer.code])


def _origin() -> str:
    """Where this app is reached: the redirect URI's origin, since background work has no request to read it from."""
    scheme, _, rest = settings.SNAPINSPECT_REDIRECT_URI.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
