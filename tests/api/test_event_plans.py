"""Lists of events stay quick for a customer that has few, however many others have."""

from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer
from integrations.models import Connection, Event, State
from tests.api.conftest import Keys
from tests.support.many_events import make_events
from tests.support.query_plans import rows_read

pytestmark = pytest.mark.django_db(transaction=True)

MANY, FEW = 20_000, 5


def test_a_customer_with_few_events_waits_for_nobody_elses(api: Keys, acme: Customer, foreign: Connection) -> None:
    if database.vendor != "postgresql":
        return  # SQLite has no such plans to read
    mine = [
        Connection.objects.create(customer=acme, state=State.CONNECTED, company_id=str(6847 + number))
        for number in range(2)
    ]
    make_events(foreign, MANY // 2)
    for connection in mine:
        make_events(connection, FEW)
    make_events(foreign, MANY // 2)
    Event.objects.filter(connection=mine[0]).update(state=Event.State.FAILED)
    with database.cursor() as cursor:
        cursor.execute("ANALYZE integrations_event, integrations_connection, accounts_customer")
    everything, only_mine = api(), api(customer=acme)
    start = everything.json("get", "events", limit=1)["cursor"]
    theirs: list[dict[str, Any]] = [{"customer": acme.code}, {"connection": mine[0].code}]
    filters: list[dict[str, Any]] = [
        *({}, {"state": "failed"}, {"state": "retrying"}, {"type": "inspection.created"}, {"type": "event.other"}),
        *({"inspection_id": "1003"}, {"inspection_id": "no such"}, {"after": start}),
    ]
    for client, whose in [(everything, query) for query in theirs] + [(only_mine, query) for query in ({}, *theirs)]:
        for query in filters:
            with CaptureQueriesContext(database) as asked:
                found = client.json("get", "events", **whose, **query)["items"]
            assert rows_read(asked) <= 2 * FEW * len(mine), (whose, query)
            assert {item["connection"] for item in found} <= {connection.code for connection in mine}
    assert len(only_mine.json("get", "events")["items"]) == FEW * len(mine)
