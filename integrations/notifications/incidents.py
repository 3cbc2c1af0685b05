"""Mails about incidents: one when a connection begins to need a person, and one when it works again."""

import logging
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

from django.db.models.functions import Now

from accounts import mail_preferences
from accounts.models import Membership
from integrations.models import Connection, Notice, State
from integrations.notifications import mail

logger = logging.getLogger(__name__)

# The pause when every recipient's mail server has refused the address.
REFUSED_PAUSE = timedelta(days=1)


def send(pk: int) -> None:
    """Mails the notice of this connection to the people of its customer, if it is still due."""
    due = Connection.objects.with_notice_due().filter(pk=pk)
    if due.update(next_notice_at=Now() + mail.SENDING) != 1:
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
            due_again.update(next_notice_at=Now() + REFUSED_PAUSE)
        return  # Tried again. Not once somebody has it: one refused address must not mail the others anew.
    row = Connection.objects.filter(pk=pk)
    # An incident that began anew meanwhile has a notice of its own, which stays due.
    if row.filter(notice=notice, next_notice_at__gt=Now()).update(notice="", next_notice_at=None) == 1:
        return
    if notice == Notice.BROKEN and sent:
        # It recovered while these mails were sent: whoever moved it to Connected saw no notice sent, and planned none.
        over = row.filter(notice="", incident_since=None, state=State.CONNECTED)
        over.update(notice=Notice.RECOVERED, next_notice_at=Now())


def _mail(connection: Connection, notice: Notice, membership: Membership) -> None:
    customer = connection.customer
    mail.send(
        f"integrations/mail/{notice.value}.txt",
        {"connection": connection, "customer": customer, "address": mail.connection_url(connection)},
        to=membership.user.email,
        unsubscribe_path=mail_preferences.unsubscribe_path(mail_preferences.TROUBLE, membership.pk),
    )
