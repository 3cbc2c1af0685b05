"""The daily digest: one mail a day for who wants it, about yesterday at all companies they have ticked."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPRecipientsRefused

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from accounts import mail_preferences
from accounts.models import Customer, Membership, User
from integrations.models import Connection, Event, State
from integrations.notifications import incidents

logger = logging.getLogger(__name__)

# While one worker sends it, the others leave it alone; a mail server that is down is tried again after this.
SENDING = timedelta(minutes=5)


@dataclass(frozen=True)
class Yesterday:
    """What the mail says about one customer."""

    customer: Customer
    address: str
    events: int
    done: int
    failed: int
    needy: list[str]


def due() -> "QuerySet[User]":
    """Whose digest may be sent now."""
    wanted = Membership.objects.filter(user=OuterRef("pk"), daily_digest=True)
    return User.objects.filter(Exists(wanted), is_active=True, next_digest_at__lte=Now()).order_by("next_digest_at")


def send(pk: int) -> None:
    """Mails this person's digest, if it is still due, and plans the next one."""
    if due().filter(pk=pk).order_by().update(next_digest_at=Now() + SENDING) != 1:
        return
    now = timezone.now()
    user = User.objects.get(pk=pk)
    customers = Customer.objects.filter(memberships__user=user, memberships__daily_digest=True)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        _mail(user, [_yesterday(customer, midnight) for customer in customers], midnight - timedelta(days=1))
    except SMTPRecipientsRefused:
        # Asking again every few minutes would make a spammer of us: this address has its next chance tomorrow.
        logger.warning("A daily digest was refused by its recipient's mail server.")
    except OSError as problem:  # SMTP's own errors, too
        logger.warning("A daily digest could not be mailed (%s).", type(problem).__name__)
        return
    User.objects.filter(pk=pk).exclude(next_digest_at=None).update(next_digest_at=mail_preferences.next_digest(now))


def _yesterday(customer: Customer, midnight: datetime) -> Yesterday:
    counted = (
        Event.objects.shown()
        .filter(connection__customer=customer, received_at__gte=midnight - timedelta(days=1), received_at__lt=midnight)
        .aggregate(
            events=Count("pk"),
            done=Count("pk", filter=Q(state=Event.State.DONE)),
            failed=Count("pk", filter=Q(state=Event.State.FAILED)),
        )
    )
    needy = Connection.objects.filter(customer=customer, state=State.NEEDS_RECONNECT)
    return Yesterday(
        customer=customer,
        address=incidents.origin() + reverse("dashboard", args=[customer.code]),
        needy=[connection.label for connection in needy],
        **counted,
    )


def _mail(user: User, companies: list[Yesterday], day: datetime) -> None:
    stop = incidents.origin() + mail_preferences.unsubscribe_path(mail_preferences.DIGEST, user.pk)
    text = render_to_string(
        "integrations/mail/digest.txt",
        {"app_name": settings.APP_NAME, "day": day, "companies": companies, "stop": stop},
    )
    subject, _, body = text.strip().partition("\n")
    EmailMessage(
        subject.strip(), body.strip() + "\n", to=[user.email], headers=mail_preferences.unsubscribe_headers(stop)
    ).send()
