"""How many connections may begin an exchange while none has helped."""

import threading
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connections
from django.db.models.functions import Now

from accounts.models import Customer, User
from integrations.models import Connection, State
from integrations.tokens import exchange_limit
from tests.support.troubled_connections import pass_time

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_many_that_ask_at_the_same_moment_as_many_may_exchange_as_the_limit_says(
    alice: User, acme: Customer
) -> None:
    made = [
        Connection.objects.create(customer=acme, connected_by=alice, state=State.CONNECTED, refused_at=Now())
        for _ in range(8)
    ]
    allowed: list[bool] = []

    def ask(connection: Connection) -> None:
        allowed.append(exchange_limit.allows(connection))
        connections.close_all()

    threads = [threading.Thread(target=ask, args=[connection]) for connection in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(allowed) == [False] * 6 + [True] * exchange_limit.LEAST
    assert len(mail.outbox) == 1, "the operator is told once"


def test_one_who_waits_exchanges_as_soon_as_another_exchange_has_helped(
    alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_limit, "MOST_WAIT", 20)
    made = [
        Connection.objects.create(customer=acme, connected_by=alice, state=State.CONNECTED, refused_at=Now())
        for _ in range(3)
    ]
    assert all(exchange_limit.allows(connection) for connection in made[:2])

    def help_one() -> None:
        exchange_limit.note_accepted(made[0])
        connections.close_all()

    helper = threading.Timer(0.5, help_one)
    helper.start()

    assert exchange_limit.allows(made[2])
    helper.join()
    assert mail.outbox == []


def test_after_the_window_some_more_may_exchange_though_nothing_has_helped(alice: User, acme: Customer) -> None:
    made = [
        Connection.objects.create(customer=acme, connected_by=alice, state=State.TROUBLE, refused_at=Now())
        for _ in range(5)
    ]
    assert [exchange_limit.allows(connection) for connection in made] == [True, True, False, False, False]
    pass_time(exchange_limit.WINDOW + timedelta(seconds=1))
    assert [exchange_limit.allows(connection) for connection in made[2:]] == [True, True, False]
