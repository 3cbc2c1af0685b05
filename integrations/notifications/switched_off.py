"""Mails that a webhook endpoint was switched off: one to each of its people, once."""

import logging
from smtplib import SMTPRecipientsRefused

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.urls import reverse

from accounts import brand, branded_mail, mail_preferences
from accounts.models import Role
from integrations.models import OutgoingMessage, WebhookEndpoint
from integrations.notifications import mail
from integrations.notifications.incidents import REFUSED_PAUSE

logger = logging.getLogger(__name__)
TEMPLATE = "integrations/mail/endpoint_off.txt"


def due() -> "QuerySet[WebhookEndpoint]":
    """Endpoints whose people have to be told."""
    return WebhookEndpoint.objects.with_notice_due().order_by("notice_at")


def send(pk: int) -> None:
    """Mails the owners of a customer's endpoint, or the operator, if that is still due."""
    if due().filter(pk=pk).order_by().update(notice_at=Now() + mail.SENDING) != 1:
        return
    endpoint = WebhookEndpoint.objects.select_related("customer").get(pk=pk)
    sent, refused, failed = 0, 0, 0
    for to, unsubscribe_path in _recipients(endpoint):
        try:
            _mail(endpoint, to, unsubscribe_path)
            sent += 1
        except OSError as problem:  # SMTP's own errors, too
            failed += 1
            refused += isinstance(problem, SMTPRecipientsRefused)
            logger.warning("A notice about an endpoint could not be mailed (%s).", type(problem).__name__)
    row = WebhookEndpoint.objects.filter(pk=pk, notice_at__gt=Now())
    if sent or not failed:
        row.update(notice_at=None)
    elif refused == failed:
        row.update(notice_at=Now() + REFUSED_PAUSE)


def _recipients(endpoint: WebhookEndpoint) -> list[tuple[str, str]]:
    """Addresses, each with the path that ends these mails; the operator's has none."""
    if endpoint.customer is None:
        return [(settings.OPERATOR_EMAIL, "")]
    return [
        (membership.user.email, mail_preferences.unsubscribe_path(mail_preferences.TROUBLE, membership.pk))
        for membership in mail_preferences.trouble_recipients(endpoint.customer)
        if membership.role == Role.OWNER
    ]


def _mail(endpoint: WebhookEndpoint, to: str, unsubscribe_path: str) -> None:
    customer = endpoint.customer
    path = (
        reverse("webhook_endpoint", args=[customer.code, endpoint.code])
        if customer
        else reverse("staff_webhook_endpoint", args=[endpoint.code])
    )
    context = {
        "endpoint": endpoint,
        "customer": customer,
        "address": brand.origin() + path,
        "kept": OutgoingMessage.KEPT,
    }
    if unsubscribe_path:
        mail.send(TEMPLATE, context, to=to, unsubscribe_path=unsubscribe_path)
    else:
        branded_mail.send(TEMPLATE, context, to=to)
