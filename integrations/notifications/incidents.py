"""One incident, one mail: who wants to hears once that a connection needs a person, and once that it works again."""

import logging
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse

from accounts import mail_preferences
from accounts.models import Membership
from integrations.models import Connection, Notice, State

logger = logging.getLogger(__name__)

# While one worker sends it, the others leave it alone; a mail server that is down is tried again after this.
SENDING = timedelta(minutes=5)
# An address that is refused for good will not be better in five minutes.
REFUSED = timedelta(days=1)


def send(pk: int) -> None:
    """Sends what people of this connection's customer have to be told, if it is still due."""
    due = Connection.objects.with_notice_due().filter(pk=pk)
    if due.update(next_notice_at=Now() + SENDING) != 1:
        return
    connection = Connection.objects.select_related("customer").get(pk=pk)
    notice = connection.notice
    sent, failed, refused = 0, 0, 0
    for membership in mail_preferences.trouble_recipients(connection.customer):
        try:
            _mail(connection, Notice(notice), membership)
            sent += 1
        except OSError as problem:  # SMTP's own errors, too
            failed += 1
            refused += isinstance(problem, SMTPRecipientsRefused)
            logger.warning("A notice about %s could not be mailed (%s).", connection.code, type(problem).__name__)
    if failed and not sent:
        if refused == failed:
            due_again = Connection.objects.filter(pk=pk, notice=notice)
            due_again.update(next_notice_at=Now() + REFUSED)
        return  # tried again: but once somebody has it, one address that is refused must not mail the others anew
    row = Connection.objects.filter(pk=pk)
    # Only what was sent is done: an incident that began anew meanwhile has a notice of its own, which is due.
    if row.filter(notice=notice, next_notice_at__gt=Now()).update(notice="", next_notice_at=None) == 1:
        return
    if notice == Notice.BROKEN and sent:
        # It has recovered while we were telling that it is broken: who recovered it could not know that somebody knows.
        over = row.filter(notice="", incident_since=None, state=State.CONNECTED)
        over.update(notice=Notice.RECOVERED, next_notice_at=Now())


def _mail(connection: Connection, notice: Notice, membership: Membership) -> None:
    stop = origin() + mail_preferences.unsubscribe_path(mail_preferences.TROUBLE, membership.pk)
    text = render_to_string(
        f"integrations/mail/{notice.value}.txt",
        {
            "app_name": settings.APP_NAME,
            "connection": connection,
            "customer": connection.customer,
            "address": origin() + reverse("dashboard", args=[connection.customer.code]),
            "stop": stop,
        },
    )
    subject, _, body = text.strip().partition("\n")
    EmailMessage(
        subject.strip(),
        body.strip() + "\n",
        to=[membership.user.email],
        headers=mail_preferences.unsubscribe_headers(stop),
    ).send()


def origin() -> str:
    """Where this app is reached: the redirect URI's origin, since background work has no request to read it from."""
    scheme, _, rest = settings.SNAPINSPECT_REDIRECT_URI.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
