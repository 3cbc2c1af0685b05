"""Which mails people get: their own choice per company. When no owner wants mail about trouble, all owners get it."""

import re
import smtplib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.locmem import EmailBackend
from django.db.models.functions import Now
from django.utils import timezone

from accounts import mail_preferences
from accounts.models import AuditEntry, Customer, Membership, Role, User
from integrations.background import jobs
from integrations.models import Connection, Event, Notice, State
from integrations.notifications import digest
from tests.support.clients import Visitor, work

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, company_name="Harbour PM", company_id="6847", state=State.CONNECTED)


def breaks(connection: Connection) -> list[str]:
    """Who is told, by name, when it needs a person now; the mails are in the outbox."""
    mail.outbox.clear()
    Connection.objects.filter(pk=connection.pk).update(
        state=State.NEEDS_RECONNECT, incident_since=Now(), notice=Notice.BROKEN, next_notice_at=Now()
    )
    work()
    return sorted(letter.to[0].partition("@")[0] for letter in mail.outbox)


def choose(browser: Visitor, *wanted: tuple[str, Membership]) -> None:
    """Ticks these boxes, and no others."""
    ticked = {f"{what}-{membership.pk}": "on" for what, membership in wanted}
    assert browser.post("/accounts/notifications/", ticked).status_code == 302


def of(user: User, customer: Customer) -> Membership:
    return Membership.objects.get(user=user, customer=customer)


def stop_link() -> str:
    """The path by which the mail sent last may be ended."""
    letter = mail.outbox[-1]
    header = re.fullmatch(r"<http://localhost:8000(/\S+)>", letter.extra_headers["List-Unsubscribe"])
    assert header
    assert letter.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert header[1] in str(letter.body)
    return str(header[1])


# --- Broken, works again ---------------------------------------------------------------------------------------------


def test_owners_are_told_unless_they_choose_otherwise_and_others_if_they_choose_to(
    visit: Visit, alice: User, bob: User, victor: User, acme: Customer, connection: Connection
) -> None:
    Membership.objects.filter(user=victor).update(role=Role.OWNER)
    assert breaks(connection) == ["alice", "victor"]

    choose(visit(bob), ("trouble", of(bob, acme)))
    choose(visit(victor))
    assert breaks(connection) == ["alice", "bob"]

    of(bob, acme).change_role(Role.VIEWER)
    assert breaks(connection) == ["alice", "bob"], "a choice is kept through a change of role"


def test_if_no_owner_wants_to_be_told_all_owners_are(
    visit: Visit, alice: User, bob: User, victor: User, acme: Customer, connection: Connection
) -> None:
    Membership.objects.filter(user=victor).update(role=Role.OWNER)
    choose(visit(bob), ("trouble", of(bob, acme)))
    for owner in (alice, victor):
        choose(visit(owner))

    assert breaks(connection) == ["alice", "bob", "victor"]
    assert "all owners get them" in visit(alice).get("/accounts/notifications/").text


def test_who_may_not_sign_in_is_told_nothing_and_does_not_count_as_told(
    visit: Visit, alice: User, bob: User, acme: Customer, connection: Connection
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    choose(visit(bob))
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert breaks(connection) == ["bob"]


def test_choices_are_made_company_by_company(
    visit: Visit, alice: User, bob: User, acme: Customer, connection: Connection
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    second = Customer.objects.create_with_owner("Second", owner=alice)
    Membership.objects.create(user=bob, customer=second, role=Role.OWNER)
    there = Connection.objects.create(customer=second, company_name="Second", company_id="1", state=State.CONNECTED)
    choose(visit(alice), ("trouble", of(alice, second)))

    assert breaks(connection) == ["bob"]
    assert breaks(there) == ["alice", "bob"]
    entry = AuditEntry.objects.get(kind="notifications.changed")
    assert (entry.customer, entry.actor, entry.detail) == (acme, alice, {"trouble": False, "digest": False})


def test_nobody_chooses_for_another(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    choose(visit(bob), ("trouble", of(alice, acme)), ("digest", of(alice, acme)))

    assert not of(alice, acme).daily_digest
    assert not AuditEntry.objects.filter(kind="notifications.changed").exists()


# --- The link that ends mails ----------------------------------------------------------------------------------------


def test_the_link_in_a_mail_asks_who_is_signed_out_and_one_press_ends_these_mails(
    alice: User, bob: User, acme: Customer, connection: Connection
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    breaks(connection)
    link = stop_link()
    of_whom = mail.outbox[-1].to[0].partition("@")[0]
    scanner = Visitor()

    assert "Stop these emails?" in scanner.get(link).text
    assert breaks(connection) == ["alice", "bob"], "looking ends nothing"
    # As mail programs do it: no cookie, no CSRF token, one press.
    answer = Visitor(enforce_csrf_checks=True).post(link, {"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, "Done" in answer.text) == (200, True)
    assert breaks(connection) == sorted({"alice", "bob"} - {of_whom})
    assert Visitor().post(link).status_code == 200, "again is no mistake"


@pytest.mark.parametrize("spoil", ["trouble.1", "trouble.1:forged", "", "x" * 3000, "nul%00"])
def test_a_link_that_was_not_made_here_ends_nothing(spoil: str, alice: User, acme: Customer) -> None:
    answer = Visitor().post(f"/accounts/notifications/stop/{spoil}/")

    assert answer.status_code in {302, 404}
    assert of(alice, acme).gets_trouble_mails


def test_one_persons_link_is_no_use_for_another_and_none_for_who_is_gone(
    alice: User, bob: User, acme: Customer
) -> None:
    link = mail_preferences.unsubscribe_path(mail_preferences.TROUBLE, of(bob, acme).pk)
    assert Visitor().post(link.replace("trouble.", "digest.")).status_code == 404
    of(bob, acme).end()

    assert Visitor().post(link).status_code == 200
    assert of(alice, acme).gets_trouble_mails


# --- The daily digest ------------------------------------------------------------------------------------------------


def event(connection: Connection, at: datetime, state: str = Event.State.DONE) -> None:
    Event.objects.create(connection=connection, received_at=at, state=state, body_sha256="")


def yesterday() -> datetime:
    return timezone.now().replace(hour=12) - timedelta(days=1)


def morning() -> None:
    """The hour of the digest comes for everybody who waits for one."""
    User.objects.exclude(next_digest_at=None).update(next_digest_at=Now())


def test_the_digest_tells_yesterdays_counts_and_who_needs_a_person_for_all_companies_ticked(
    visit: Visit, alice: User, acme: Customer, charlie: User, connection: Connection
) -> None:
    second = Customer.objects.create_with_owner("Second Home", owner=alice)
    for state in (Event.State.DONE, Event.State.DONE, Event.State.FAILED, Event.State.RETRYING):
        event(connection, yesterday(), state)
    event(connection, yesterday() - timedelta(days=1))
    event(connection, timezone.now())
    other = Connection.objects.create(customer=charlie.customers.get(), company_name="Charlie's")
    event(other, yesterday())
    Connection.objects.filter(pk=connection.pk).update(state=State.NEEDS_RECONNECT)
    choose(visit(alice), ("digest", of(alice, acme)), ("digest", of(alice, second)))
    morning()
    for _ in range(3):
        jobs.sweep()
        work()

    (letter,) = mail.outbox
    body = str(letter.body)
    assert letter.to == [alice.email]
    assert f"{yesterday():%-d %b %Y}" in letter.subject
    assert re.search(r"Acme Property\n  4 events: 2 done, 1 failed\n  Harbour PM needs to be reconnected", body)
    assert re.search(r"Second Home\n  0 events: 0 done, 0 failed\n", body)
    assert f"http://localhost:8000/c/{acme.code}/" in body
    assert "Charlie" not in body


def test_the_digest_names_the_newest_inspections_once_each(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    choose(visit(alice), ("digest", of(alice, acme)))
    for number in range(digest.MOST_NAMED + 1):
        for minutes in (0, 30):
            Event.objects.create(
                connection=connection,
                received_at=yesterday() + timedelta(hours=number, minutes=minutes),
                inspection_title=f"Flat {number} <Harbour Street>",
            )
    morning()
    work()

    (letter,) = cast(list[EmailMultiAlternatives], mail.outbox)
    named = "".join(f"  • Flat {number} <Harbour Street>\n" for number in reversed(range(1, digest.MOST_NAMED + 1)))
    assert f"0 failed\n{named}  • and others\n" in str(letter.body)
    assert "Flat 5 &lt;Harbour Street&gt;" in str(letter.alternatives[0][0])


def test_the_digest_comes_once_a_day_at_its_hour(visit: Visit, alice: User, acme: Customer) -> None:
    choose(visit(alice), ("digest", of(alice, acme)))
    work()
    assert mail.outbox == [], "not before its hour"
    morning()
    work()
    planned = User.objects.get(pk=alice.pk).next_digest_at

    assert len(mail.outbox) == 1
    assert planned is not None
    assert (planned.hour, planned.minute, planned > timezone.now()) == (mail_preferences.DIGEST_HOUR, 0, True)
    for _ in range(2):
        work()
    assert len(mail.outbox) == 1


def test_two_workers_that_look_at_the_same_moment_send_one_digest(visit: Visit, alice: User, acme: Customer) -> None:
    choose(visit(alice), ("digest", of(alice, acme)))
    morning()
    seen = list(digest.due().values_list("pk", flat=True))

    for pk in seen * 2:
        digest.send(pk)

    assert len(mail.outbox) == 1


def test_a_digest_that_could_not_be_sent_is_tried_again(
    visit: Visit, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(backend: EmailBackend, letters: Any) -> int:
        raise smtplib.SMTPServerDisconnected

    choose(visit(alice), ("digest", of(alice, acme)))
    morning()
    with monkeypatch.context() as patched:
        patched.setattr(EmailBackend, "send_messages", down)
        work()
        work()
    assert mail.outbox == []
    User.objects.update(next_digest_at=Now())
    work()

    assert len(mail.outbox) == 1


@pytest.mark.parametrize("end", ["the link", "the page", "leaving"])
def test_who_wants_no_digest_any_more_gets_none(end: str, visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    second = Customer.objects.create_with_owner("Second", owner=alice)
    Membership.objects.create(user=bob, customer=second, role=Role.VIEWER)
    for customer in (acme, second):
        mail_preferences.save(of(bob, customer), trouble_mails=False, daily_digest=True)
    morning()
    work()
    assert len(mail.outbox) == 1

    if end == "the link":
        assert "daily summary" in Visitor().get(stop_link()).text
        Visitor().post(stop_link())
    elif end == "the page":
        choose(visit(bob))
    else:
        for customer in (acme, second):
            visit(bob).post(f"/c/{customer.code}/people/leave/")
    morning()
    work()

    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (datetime(2026, 3, 5, 6, 59, tzinfo=UTC), datetime(2026, 3, 5, 7, tzinfo=UTC)),
        (datetime(2026, 3, 5, 7, 0, tzinfo=UTC), datetime(2026, 3, 6, 7, tzinfo=UTC)),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, 7, tzinfo=UTC)),
    ],
)
def test_the_next_digest_is_at_the_next_seven_o_clock(now: datetime, due: datetime) -> None:
    assert mail_preferences.next_digest(now) == due


def test_a_digest_that_its_address_refuses_is_not_sent_again_before_tomorrow(
    visit: Visit, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refused(backend: EmailBackend, letters: Any) -> int:
        tries.append(letters)
        raise smtplib.SMTPRecipientsRefused({alice.email: (550, b"no such mailbox")})

    choose(visit(alice), ("digest", of(alice, acme)))
    morning()
    monkeypatch.setattr(EmailBackend, "send_messages", refused)
    work()
    planned = User.objects.get(pk=alice.pk).next_digest_at
    assert planned
    assert (len(tries), planned.hour, planned.minute) == (1, mail_preferences.DIGEST_HOUR, 0)
