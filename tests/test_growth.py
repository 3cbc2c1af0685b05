"""What people can do again and again, or leave undone for ever, does not pile up here."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from accounts.models import AuditEntry, Customer, User
from integrations import tasks, wording
from integrations.finishing import ASKS_FOR
from integrations.models import Check, Connection, TokenPair
from integrations.views import connect as connect_view
from tests.driving import OTHER, Sandbox, Visitor, audited, callback, work

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_an_address_that_was_handed_on_is_noted_once_with_the_connection_it_is_about(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    address = sandbox.decide(browser.leave(acme, connection=connection))
    for _ in range(3):
        assert Visitor().come_back(address)["Location"] == "/connect/ended/signed-out/"
    for _ in range(3):
        assert visit(charlie).come_back(address)["Location"] == "/connect/ended/other-person/"
    for _ in range(3):
        assert browser.come_back(address)["Location"] == f"/c/{acme.code}/"

    noted = AuditEntry.objects.filter(subject=connection.code)
    for kind in ("connect.signed-out", "connect.other-person", "connect.used"):
        assert noted.filter(kind=kind).count() == audited(kind) == 1


def test_states_that_nobody_issued_are_noted_twenty_times_an_hour_for_each_person(visit: Visit, alice: User) -> None:
    browser = visit(alice)
    for number in range(connect_view.MOST_UNKNOWN_AN_HOUR + 5):
        assert browser.come_back(callback(state=str(number)))["Location"] == "/connect/ended/unknown/"
    assert audited("connect.unknown") == connect_view.MOST_UNKNOWN_AN_HOUR

    AuditEntry.objects.update(at=Now() - timedelta(hours=1))
    browser.come_back(callback(state="again"))
    assert audited("connect.unknown") == connect_view.MOST_UNKNOWN_AN_HOUR + 1


def test_a_company_that_nobody_decided_on_within_seven_days_is_forgotten(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "LINGER", 0)
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.come_back(sandbox.decide(browser.leave(acme, connection=connection), account=OTHER))
    work()
    asking = TokenPair.objects.candidates().filter(asks=True)
    asking.update(received_at=Now() - ASKS_FOR + timedelta(minutes=5))
    work()
    assert asking.count() == 1

    asking.update(received_at=Now() - ASKS_FOR - timedelta(minutes=5))
    tasks.sweep()
    work()

    assert list(TokenPair.objects.values_list("connection", "role")) == [(connection.pk, "current")]
    entry = AuditEntry.objects.get(kind="connect.other_company_lapsed")
    assert (entry.subject, entry.actor) == (connection.code, None)
    assert "erased" in wording.activity(entry.kind)
    assert Connection.objects.get().badge.label == "Connected"


def test_of_an_answer_that_is_too_long_only_the_name_and_the_company_are_kept(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    path = f"/c/{acme.code}/connections/{connection.code}/test/"
    assert "Everything SnapInspect answered" in browser.post(path, follow=True).text

    long = '{"iUserID": 501, "sName": "Pat", "iCompanyID": 6847, "more": "%s"}' % ("x" * Check.MOST_KEPT)
    sandbox.fault("/user", "status", status=200, body=long)
    page = browser.post(path, follow=True).text

    assert Check.objects.latest("pk").answer is None
    assert "more than 64 KiB" in page
    assert "6847" in page


def test_a_session_cookie_that_holds_a_nul_is_no_session(acme: Customer) -> None:
    for odd in ('"\\000"', "a\u00e9", "x" * 41):
        answer = Visitor(HTTP_COOKIE=f"sessionid={odd}").get(f"/c/{acme.code}/")
        assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/accounts/login/")
