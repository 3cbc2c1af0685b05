"""Mails with the operator's mark, as plain text and as HTML, both from one template.

The template extends the variable `base`, which is mail/base.txt or mail/base.html, and fills the blocks that both have.
"""

import re
from collections.abc import Mapping
from email.utils import formataddr, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string

from accounts import brand


def message(
    template: str,
    context: Mapping[str, Any],
    *,
    to: str | list[str],
    headers: dict[str, str] | None = None,
    connection: BaseEmailBackend | None = None,
) -> EmailMultiAlternatives:
    """The mail of this template. The first line of its text is the subject.

    connection: to the mail server, None for one of its own.
    """
    shared = {**brand.context(), "origin": brand.origin(), **context}
    accent = settings.BRAND_ACCENT or brand.ACCENT
    shared |= {"accent": accent, "on_accent": brand.readable_on(accent)}
    if shared["brand_logo"].startswith("/"):
        shared["brand_logo"] = brand.origin() + shared["brand_logo"]
    text = render_to_string(template, {**shared, "base": "mail/base.txt"})
    subject, _, body = re.sub(r"\n\s*\n", "\n\n", text.strip()).partition("\n")
    html = render_to_string(template, {**shared, "base": "mail/base.html", "subject": subject})
    recipients = [to] if isinstance(to, str) else to
    mail = EmailMultiAlternatives(
        subject.strip(), body.strip() + "\n", _sender(), recipients, headers=headers, connection=connection
    )
    mail.attach_alternative(html, "text/html")
    return mail


def send(template: str, context: Mapping[str, Any], **arguments: Any) -> None:
    """Sends the mail of `message`. Raises OSError, the base of smtplib's errors."""
    message(template, context, **arguments).send()


def _sender() -> str:
    """DEFAULT_FROM_EMAIL, with the app's name if it has none."""
    name, address = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return formataddr((name or settings.APP_NAME, address))
