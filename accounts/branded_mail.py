"""Mails with the operator's mark, as plain text and as HTML, both from one template.

The template extends the variable `base`, which is mail/base.txt or mail/base.html, and fills the blocks that both have.
"""

import re
from collections.abc import Mapping
from email.utils import formataddr, parseaddr
from typing import Any

import django
from django.conf import settings
from django.core import mail
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
) -> EmailMultiAlternatives:
    """The mail of this template. The first line of its text is the subject."""
    shared = {**brand.context(), "origin": brand.origin(), **context}
    accent = settings.BRAND_ACCENT or brand.ACCENT
    shared |= {"accent": accent, "on_accent": brand.readable_on(accent)}
    if shared["brand_logo"].startswith("/"):
        shared["brand_logo"] = brand.origin() + shared["brand_logo"]
    text = render_to_string(template, {**shared, "base": "mail/base.txt"})
    subject, _, body = re.sub(r"\n\s*\n", "\n\n", text.strip()).partition("\n")
    html = render_to_string(template, {**shared, "base": "mail/base.html", "subject": subject})
    recipients = [to] if isinstance(to, str) else to
    made = EmailMultiAlternatives(subject.strip(), body.strip() + "\n", _sender(), recipients, headers=headers)
    made.attach_alternative(html, "text/html")
    return made


def send(
    template: str, context: Mapping[str, Any], *, server: BaseEmailBackend | None = None, **arguments: Any
) -> None:
    """Sends the mail of `message`. Raises OSError, the base of smtplib's errors.

    server: a connection to the mail server, None for one of its own.
    """
    (server or mail_server()).send_messages([message(template, context, **arguments)])


def mail_server() -> BaseEmailBackend:
    """A connection to the mail server, which is opened when it is used."""
    if django.VERSION < (6, 1):
        return mail.get_connection()
    server: BaseEmailBackend = mail.mailers.default
    return server


def _sender() -> str:
    """DEFAULT_FROM_EMAIL, with the app's name if it has none."""
    name, address = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return formataddr((name or settings.APP_NAME, address))
