"""A customer's newest events, for the dashboard."""

from collections.abc import Collection

from integrations.models import Connection, Event

MOST_EVENTS = 5
_COLUMNS = (
    "id, code, connection_id, state, type, inspection_id, received_at, attempts, next_attempt_at, inspection_title,"
    " inspection_status, previous_status"
)


def newest(connections: Collection[Connection]) -> list[Event]:
    """The newest events of these connections, at most MOST_EVENTS. One query.

    The connections are from `figures.with_last_event`. No more than MOST_EVENTS of them can have one of these events:
    those whose last event is newest. Written by hand: SQLite takes no limit in a part of a union as the ORM writes it,
    and for an IN over many connections a database sorts all their events.
    """
    last = {one.pk: one.last_event_at for one in connections if one.last_event_at is not None}
    latest = sorted(last, key=lambda pk: last[pk], reverse=True)[:MOST_EVENTS]
    if not latest:
        return []
    part = (
        f"SELECT * FROM (SELECT {_COLUMNS} FROM {Event._meta.db_table} WHERE connection_id = %s"  # noqa: S608
        f" AND repeat_of_id IS NULL ORDER BY received_at DESC, id DESC LIMIT {MOST_EVENTS}) AS one"
    )
    statement = f"{' UNION ALL '.join([part] * len(latest))} ORDER BY received_at DESC, id DESC LIMIT {MOST_EVENTS}"
    by_pk = {one.pk: one for one in connections}
    found = list(Event.objects.raw(statement, latest))
    for event in found:
        event.connection = by_pk[event.connection_id]
    return found
