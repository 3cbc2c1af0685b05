"""The audit trail: who did what, for which customer, and what the system did by itself."""

from collections.abc import Iterable
from datetime import timedelta
from functools import reduce
from operator import or_

from django.db.models import Q
from django.utils import timezone

from accounts.models import AuditEntry, Customer, User

Detail = str | int | bool | None
# A person; the name of an API key, as text; None for the system.
Actor = User | str | None


def record(
    kind: str, *, customer: Customer | None = None, actor: Actor = None, subject: str = "", **detail: Detail
) -> AuditEntry:
    """Writes one entry, in the caller's transaction.

    kind: a dotted slug ("connect.started"). actor: who did it. subject: the public code of the connection
    concerned. detail: short plain values such as error kinds, company IDs, fingerprints; never a token.
    """
    return AuditEntry.objects.create(
        kind=kind,
        customer=customer,
        actor=person(actor),
        actor_name=actor.email if isinstance(actor, User) else actor or "",
        subject=subject,
        detail=detail,
    )


def of_kinds(beginnings: Iterable[str]) -> Q:
    """The entries whose kind begins like one of these."""
    return reduce(or_, (Q(kind__startswith=beginning) for beginning in beginnings))


def person(actor: Actor) -> User | None:
    """The actor, if it is a person."""
    return actor if isinstance(actor, User) else None


def counted_lately(customer: Customer, kind: str, *, within: timedelta) -> int:
    """How many entries of this kind this customer got within this time."""
    return AuditEntry.objects.filter(customer=customer, kind=kind, at__gt=timezone.now() - within).count()


def record_at_most(
    limit: int,
    kind: str,
    *,
    within: timedelta,
    customer: Customer | None = None,
    actor: User | None = None,
    subject: str = "",
    **detail: Detail,
) -> None:
    """Like `record`, but writes nothing if there are `limit` equal entries of that period already."""
    equal = AuditEntry.objects.filter(kind=kind, customer=customer, actor=actor, subject=subject, detail=detail)
    if equal.filter(at__gt=timezone.now() - within).count() < limit:
        record(kind, customer=customer, actor=actor, subject=subject, **detail)
