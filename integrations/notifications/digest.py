"""The daily digest: one mail a day about yesterday, for all customers that a person has ticked."""

import logging
from datetime import datetime, timedelta
from smtplib import SMTPRecipientsRefused
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import mail_preferences
from accounts.models import Customer, Membership, User
from integrations.models import Connection, Event, State
from integrations.notifications import mail

logger = logging.getLogger(__name__)
# How many inspections a mail names for each customer.
MOST_NAMED = 5


def due() -> "QuerySet[User]":
    """People whose digest is due."""
    wanted = Membership.objects.filter(user=OuterRef("pk"), daily_digest=True)
    return User.objects.filter(Exists(wanted), is_active=True, next_digest_at__lte=Now()).order_by("next_digest_at")


def send(pk: int) -> None:
    """Mails this person's digest, if it is still due, and plans the next one."""
    if due().filter(pk=pk).order_by().update(next_digest_at=Now() + mail.SENDING) != 1:
        return
    now = timezone.now()
    user = User.objects.get(pk=pk)
    customers = Customer.objects.filter(memberships__user=user, memberships__daily_digest=True)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        _mail(user, [_yesterday(customer, midnight) for customer in customers], midnight - timedelta(days=1))
    except SMTPRecipientsRefused:
        # Not tried again before tomorrow's digest: repeated mail to a refused address looks like spam.
        logger.warning("A daily digest was refused by its recipient's mail server.")
    except OSError as problem:  # SMTP's errors are OSErrors
        logger.warning("A daily digest could not be mailed (%s).", type(problem).__name__)
        return
    User.objects.filter(pk=pk).exclude(next_digest_at=None).update(next_digest_at=mail_preferences.next_digest(now))


def _yesterday(customer: Customer, midnight: datetime) -> dict[str, Any]:
    """What the mail says about one customer."""
    events = Event.objects.shown().filter(
        connection__customer=customer, received_at__gte=midnight - timedelta(days=1), received_at__lt=midnight
    )
    counted = events.aggregate(
        events=Count("pk"),
        done=Count("pk", filter=Q(state=Event.State.DONE)),
        failed=Count("pk", filter=Q(state=Event.State.FAILED)),
    )
    titles = list(
        events.exclude(inspection_title="")
        .values_list("inspection_title", flat=True)
        .annotate(newest=Max("received_at"))
        .order_by("-newest")[: MOST_NAMED + 1]
    )
    return {
        "inspections": titles[:MOST_NAMED],
        "has_more": len(titles) > MOST_NAMED,
        "customer": customer,
        "address": mail.dashboard_url(customer),
        "need_reconnect": Connection.objects.filter(customer=customer, state=State.NEEDS_RECONNECT),
        **counted,
    }


def _mail(user: User, companies: list[dict[str, Any]], day: datetime) -> None:
    mail.send(
        "integrations/mail/digest.txt",
        {"day": day, "companies": companies},
        to=user.email,
        unsubscribe_path=mail_preferences.unsubscribe_path(mail_preferences.DIGEST, user.pk),
    )
