"""The audit trail: who did what, for which customer, and what the system did by itself."""

from datetime import timedelta

from django.utils import timezone

from accounts.models import AuditEntry, Customer, User

type_of_detail = str | int | bool | None


def record(
    kind: str,
    *,
    customer: Customer | None = None,
    actor: User | None = None,
    subject: str = "",
    **detail: type_of_detail,
) -> AuditEntry:
    """Writes one entry, in the caller's transaction.

    `kind` is a dotted slug ("connect.started"); `actor` None means the system; `subject` is the public code of the
    connection concerned; `detail` holds short plain values: error kinds, company IDs, fingerprints. Never a token.
    """
    return AuditEntry.objects.create(
        kind=kind,
        customer=customer,
        actor=actor,
        actor_name=actor.email if actor else "",
        subject=subject,
        detail=detail,
    )


def record_at_most(
    most: int,
    kind: str,
    *,
    within: timedelta,
    customer: Customer | None = None,
    actor: User | None = None,
    subject: str = "",
    **detail: type_of_detail,
) -> None:
    """Like `record`, for what somebody can do again and again: no more than so many equal entries in that time."""
    equal = AuditEntry.objects.filter(kind=kind, customer=customer, actor=actor, subject=subject, detail=detail)
    if equal.filter(at__gt=timezone.now() - within).count() < most:
        record(kind, customer=customer, actor=actor, subject=subject, **detail)
