"""One incident, one mail: who is told that a connection needs a person, and how often."""

import smtplib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend

from accounts.models import Customer, Membership, Role, User
from integrations.background import jobs
from integrations.calls import health_check
from integrations.models import Connection, State
from tests.support.clients import OTHER, Sandbox, Visitor, quick_connect, work, work_as_if_later
from tests.support.troubled_connections import fails, pass_time, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """Connected some time ago, and working."""
    connection = quick_connect(acme, sandbox, by=alice)
    pass_time(timedelta(hours=7))
    sandbox.control("DELETE", "log")
    return connection


def mail_to(*addresses: str) -> list[str]:
    """The subjects of what these were sent."""
    return [str(letter.subject) for letter in mail.outbox if set(letter.to) & set(addresses)]


def break_for_good(sandbox: Sandbox, connection: Connection) -> None:
    """Its tokens are refused, and their exchange too."""
    sandbox.control("POST", "revoke_all")
    fails(connection)
    work()
    assert state(connection) == State.NEEDS_RECONNECT


def test_one_incident_is_one_mail_however_many_calls_fail_and_one_more_when_it_works_again(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer, connected: Connection
) -> None:
    break_for_good(sandbox, connected)
    for _ in range(50):
        assert not fails(connected).is_outage
    for _ in range(3):
        pass_time(timedelta(hours=1))
        jobs.sweep()
        work_until_idle()
    (broken,) = mail.outbox
    assert broken.to == [alice.email], "owners are told, and nobody else"
    assert f"/c/{acme.code}/" in broken.body
    assert sandbox.exchanges() == 1, "the answer says that the refresh token is dead"

    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
    for _ in range(3):
        work_as_if_later()

    assert state(connected) == State.CONNECTED
    assert [letter.to for letter in mail.outbox] == [[alice.email]] * 2
    assert "works again" in mail.outbox[1].subject


def test_two_incidents_of_two_customers_are_told_to_each_of_them(
    sandbox: Sandbox, alice: User, charlie: User, connected: Connection
) -> None:
    theirs = quick_connect(charlie.customers.get(), sandbox, by=charlie, account=OTHER)
    pass_time(timedelta(hours=7))
    break_for_good(sandbox, connected)
    break_for_good(sandbox, theirs)
    for _ in range(3):
        work_as_if_later()

    assert len(mail_to(alice.email)) == len(mail_to(charlie.email)) == 1
    assert len(mail.outbox) == 2


def test_an_incident_that_begins_anew_is_told_anew(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    browser = visit(alice)
    for _ in range(2):
        break_for_good(sandbox, connected)
        browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
        work_as_if_later()
        work()
        pass_time(timedelta(hours=7))

    assert [subject.endswith("works again") for subject in mail_to(alice.email)] == [False, True, False, True]


def test_an_owner_whose_address_is_refused_does_not_make_the_others_get_it_twice(
    sandbox: Sandbox, alice: User, acme: Customer, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = User.objects.create_user("gone@example.com", "correct horse battery")
    Membership.objects.create(user=gone, customer=acme, role=Role.OWNER)
    send = EmailBackend.send_messages

    def refusing(backend: EmailBackend, letters: Any) -> int:
        if letters[0].to == [gone.email]:
            raise smtplib.SMTPRecipientsRefused({})
        return send(backend, letters)

    monkeypatch.setattr(EmailBackend, "send_messages", refusing)
    break_for_good(sandbox, connected)
    for _ in range(5):
        pass_time(timedelta(minutes=6))
        jobs.sweep()
        work_until_idle()

    assert len(mail_to(alice.email)) == 1


def test_an_only_owner_whose_address_is_refused_for_good_is_tried_once_a_day(
    sandbox: Sandbox, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refusing(backend: EmailBackend, letters: Any) -> int:
        tries.append(letters)
        raise smtplib.SMTPRecipientsRefused({})

    monkeypatch.setattr(EmailBackend, "send_messages", refusing)
    break_for_good(sandbox, connected)
    for _ in range(5):
        pass_time(timedelta(minutes=6))
        jobs.sweep()
        work_until_idle()
    assert len(tries) == 1

    pass_time(timedelta(hours=24))
    jobs.sweep()
    work_until_idle()
    assert len(tries) == 2


def test_a_mail_server_that_is_down_is_tried_again(
    sandbox: Sandbox, alice: User, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(backend: EmailBackend, letters: Any) -> int:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(EmailBackend, "send_messages", down)
        break_for_good(sandbox, connected)
        work()
    assert mail.outbox == []
    pass_time(timedelta(minutes=6))
    work()
    work()

    assert len(mail_to(alice.email)) == 1


@pytest.mark.parametrize("broken_again", [False, True])
def test_who_recovers_while_its_mail_is_being_sent_is_told_so_all_the_same(
    broken_again: bool, sandbox: Sandbox, alice: User, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = EmailBackend.send_messages

    def slow(backend: EmailBackend, letters: Any) -> int:
        monkeypatch.setattr(EmailBackend, "send_messages", send)
        health_check.check(connected)
        assert state(connected) == State.CONNECTED
        if broken_again:
            connected.move_to(State.NEEDS_RECONNECT, error_kind="token_refused", next_check_at=None)
        return send(backend, letters)

    sandbox.fault("/user", "status", times=None, status=401)
    sandbox.fault("/integration/ExchangeToken", "status", times=None, status=400)
    fails(connected)
    assert state(connected) == State.NEEDS_RECONNECT
    sandbox.clear_faults()
    monkeypatch.setattr(EmailBackend, "send_messages", slow)
    for _ in range(3):
        work()

    assert [subject.endswith("works again") for subject in mail_to(alice.email)] == [False, not broken_again]
