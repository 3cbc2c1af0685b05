"""Whose turn it is: no kind of work delays another one by more than a few rows."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail as outbox
from django.core.mail.backends import locmem
from django.db import OperationalError
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import Customer, Membership, Role, User
from integrations.background import agenda, jobs
from integrations.background.agenda import Agenda
from integrations.background.due_rows import Job
from integrations.connecting import completion
from integrations.models import Connection
from tests.support.clients import Sandbox, Visitor, badge

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def users() -> list[int]:
    return [User.objects.create_user(f"row-{number}@example.com").pk for number in range(130)]


def rows_of(users: list[int]) -> Callable[[], "QuerySet[User]"]:
    """What `users` holds when it is read."""
    return lambda: User.objects.filter(pk__in=users).order_by("pk")


def take_all(turns: Agenda, most: int = 1000) -> int:
    for number in range(most):
        turn = turns.take()
        if turn is None:
            return number
        turns.work(turn)
    return most


def test_kinds_take_turns_however_many_rows_of_one_are_due(users: list[int]) -> None:
    done: list[str] = []
    many, few = users[:100], users[100:103]

    def work_on(rows: list[int], name: str) -> Job:
        def work(pk: int) -> None:
            done.append(name)
            rows.remove(pk)

        return Job(rows_of(rows), work, varies=True)

    take_all(Agenda([work_on(many, "many"), work_on(few, "few")]))

    assert done[:6] == ["many", "few"] * 3
    assert len(done) == 103


def test_what_is_due_since_the_rows_were_read_does_not_wait_for_the_rest(
    users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "REREAD_AFTER", 0.01)
    done: list[str] = []
    many, later = users[:50], list[int]()

    def work(pk: int) -> None:
        done.append("many")
        many.remove(pk)
        if len(done) == 2:
            later.append(users[-1])
        time.sleep(0.01)

    def work_later(pk: int) -> None:
        done.append("later")
        later.remove(pk)

    take_all(Agenda([Job(rows_of(many), work, varies=True), Job(rows_of(later), work_later, varies=True)]))

    assert done.index("later") <= 4


def test_a_row_that_fails_is_left_alone_for_a_while_and_the_rows_behind_it_are_done(users: list[int]) -> None:
    tried: list[int] = []

    def work(pk: int) -> None:
        tried.append(pk)
        if pk in users[:60]:
            raise ValueError
        users.remove(pk)

    turns = Agenda([Job(rows_of(users), work, varies=True)])
    take_all(turns)

    assert len(tried) == 130, "each of them once, also those behind more failures than are read at a time"
    assert len(users) == 60


@pytest.mark.parametrize(("pause", "once", "turns"), [(60, False, 1), (0, False, 10), (60, True, 10)])
def test_work_that_costs_as_much_for_one_row_as_for_many_pauses_between_its_turns(
    users: list[int], pause: float, once: bool, turns: int
) -> None:
    several = Job(rows_of(users), lambda _: None, whole=True, at_once=True, pause=pause)
    assert take_all(Agenda([several], once=once), most=10) == turns


def test_after_a_pause_it_is_looked_for_at_once(users: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "POLL_SECONDS", 60)
    turns = Agenda([Job(rows_of(users), lambda _: None, whole=True, at_once=True, pause=0.05)])
    assert take_all(turns, most=10) == 1
    turns.wait()
    assert take_all(turns, most=10) == 1


def test_a_database_that_is_gone_is_not_taken_for_a_row_that_fails(users: list[int]) -> None:
    def work(pk: int) -> None:
        raise OperationalError

    turns = Agenda([Job(rows_of(users), work, varies=True)])
    turn = turns.take()
    assert turn is not None
    with pytest.raises(OperationalError):
        turns.work(turn)


def test_a_connect_does_not_wait_for_130_digests_and_they_share_one_connection_to_the_mail_server(
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    users: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pk in users:
        Membership.objects.create(user_id=pk, customer=acme, role=Role.MEMBER, daily_digest=True)
    User.objects.filter(pk__in=users).update(next_digest_at=Now() - timedelta(hours=1))
    closed: list[int] = []
    monkeypatch.setattr(locmem.EmailBackend, "close", lambda backend: closed.append(id(backend)))
    sent_before: list[int] = []
    finish = completion.finish

    def noted(pk: int) -> None:
        sent_before.append(len(outbox.outbox))
        finish(pk)

    order = [Job(job.rows, noted, job.whole, job.at_once) if job.work is finish else job for job in jobs.ORDER]
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme)))
    jobs.work_off(order)

    assert badge(Connection.objects.get()) == "Connected"
    assert sent_before[0] <= jobs.MAILS_AT_ONCE
    digests = [sent for sent in outbox.outbox if sent.to[0].startswith("row-")]
    assert len(digests) == 130
    assert len(closed) == -(-130 // jobs.MAILS_AT_ONCE), "one connection for the mails of one turn"
    assert User.objects.filter(pk__in=users, next_digest_at__lte=Now()).count() == 0
