"""A customer's connections, as its pages show them."""

from django.db.models import Exists, F, FilteredRelation, OuterRef, Q, QuerySet

from accounts.kept_queries import KeptQuery
from accounts.models import Customer
from integrations.models import Connection, TokenPair, WebhookEndpoint
from integrations.views import figures

_OF_CANDIDATE = [
    field.attname for field in TokenPair._meta.concrete_fields if field.name not in TokenPair.NOT_FOR_PAGES
]


def of(customer: Customer) -> list[Connection]:
    """As `ConnectionQuerySet.shown`, with `last_event_at` and `endpoint_in_trouble`, the oldest first. One query."""
    found = _connections(customer.pk)
    for connection in found:
        connection.customer = customer
        pair = TokenPair.from_db(
            connection._state.db, _OF_CANDIDATE, [vars(connection).pop(f"candidate_{name}") for name in _OF_CANDIDATE]
        )
        connection.candidates = [pair] if pair.pk else []
    return found


def _query(customer_id: int) -> "QuerySet[Connection]":
    endpoints = WebhookEndpoint.objects.in_trouble().filter(customer=OuterRef("customer"))
    rows = Connection.objects.filter(customer=customer_id).select_related("connected_by")
    return figures.with_last_event(rows).annotate(  # type: ignore[no-redef]  # declared there for readers
        endpoint_in_trouble=Exists(endpoints),
        # A join, of which a connection has one row or none, in place of the second query of `shown`.
        pair=FilteredRelation("pairs", condition=Q(pairs__role=TokenPair.Role.CANDIDATE)),
        **{f"candidate_{name}": F(f"pair__{name}") for name in _OF_CANDIDATE},
    )


_connections = KeptQuery(_query)
