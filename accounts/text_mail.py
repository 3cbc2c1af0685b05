from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string


def send(
    template: str,
    context: dict[str, Any],
    *,
    to: str,
    headers: dict[str, str] | None = None,
    connection: BaseEmailBackend | None = None,
) -> None:
    """Mails the template's text, whose first line is the subject. Raises OSError, the base of smtplib's errors.

    connection: to the mail server, None for one of its own.
    """
    text = render_to_string(template, {"app_name": settings.APP_NAME, **context})
    subject, _, body = text.strip().partition("\n")
    EmailMessage(subject.strip(), body.strip() + "\n", to=[to], headers=headers, connection=connection).send()
