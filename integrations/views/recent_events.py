"""A customer's newest events, for the dashboard."""

from collections.abc import Collection

from django.db import DEFAULT_DB_ALIAS
from django.db import connection as database

from integrations.models import Connection, Event

MOST_EVENTS = 5
_SHOWN = {
    "id", "code", "connection", "state", "type", "inspection_id", "received_at", "inspection_title",
    "inspection_status", "previous_status",
}  # fmt: skip
_FIELDS = [field for field in Event._meta.concrete_fields if field.name in _SHOWN]
_COLUMNS = [field.attname for field in _FIELDS]
_RECEIVED_AT = _COLUMNS.index("received_at")
_PART = (
    f"SELECT * FROM (SELECT {', '.join(_COLUMNS)} FROM {Event._meta.db_table} WHERE connection_id = %s"  # noqa: S608
    f" AND repeat_of_id IS NULL ORDER BY received_at DESC, id DESC LIMIT {MOST_EVENTS}) AS one"
)


def newest(connections: Collection[Connection]) -> list[Event]:
    """The newest events of these connections, at most MOST_EVENTS, with what the dashboard shows of them. One query.

    The connections are from `figures.with_last_event`. No more than MOST_EVENTS of them can have one of these events:
    those whose last event is newest. Written by hand: SQLite takes no limit in a part of a union as the ORM writes it,
    for an IN over many connections a database sorts all their events, and Event.objects.raw() takes twice as long to
    read five rows.
    """
    last = {one.pk: one.last_event_at for one in connections if one.last_event_at is not None}
    latest = sorted(last, key=lambda pk: last[pk], reverse=True)[:MOST_EVENTS]
    if not latest:
        return []
    statement = f"{' UNION ALL '.join([_PART] * len(latest))} ORDER BY received_at DESC, id DESC LIMIT {MOST_EVENTS}"
    with database.cursor() as cursor:
        cursor.execute(statement, latest)
        rows = [list(row) for row in cursor.fetchall()]
    by_pk = {one.pk: one for one in connections}
    found = []
    # As the ORM reads them: SQLite has no type of moments.
    converters = database.ops.get_db_converters(_FIELDS[_RECEIVED_AT].get_col(Event._meta.db_table))
    for row in rows:
        for convert in converters:
            row[_RECEIVED_AT] = convert(row[_RECEIVED_AT], None, database)
        event = Event.from_db(DEFAULT_DB_ALIAS, _COLUMNS, row)
        event.connection = by_pk[event.connection_id]
        found.append(event)
    return found
