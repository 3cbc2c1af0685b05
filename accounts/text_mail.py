from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string


def send(template: str, context: dict[str, Any], *, to: str, headers: dict[str, str] | None = None) -> None:
    """Mails the template's text, whose first line is the subject. Raises OSError, the base of smtplib's errors."""
    text = render_to_string(template, {"app_name": settings.APP_NAME, **context})
    subject, _, body = text.strip().partition("\n")
    EmailMessage(subject.strip(), body.strip() + "\n", to=[to], headers=headers).send()
