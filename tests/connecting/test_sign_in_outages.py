"""Sign in with SnapInspect while SnapInspect or our keys fail: the waiting page ends, and the pair is erased."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import User
from integrations import wording
from integrations.models import ExchangeStatus, GuestTokenPair, LinkedUser, SignInOutcome
from tests.support.clients import Sandbox, Visitor, work
from tests.support.sign_in import WAITING, leave_to_sign_in, link, sign_in_with_snapinspect, who

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.interface,
    pytest.mark.usefixtures("no_guest_pair_left"),
]
Visit = Callable[[User], Visitor]


EXCHANGE = "/integration/ExchangeToken"


def test_the_waiting_page_asks_for_itself_and_is_never_what_signs_in_then(
    sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))

    page = browser.get(WAITING).content.decode()
    assert "Continue" in page
    asked = browser.get(WAITING, headers={"HX-Request": "true"})
    assert (asked.status_code, "HX-Refresh" in asked) == (204, False)
    work()
    asked = browser.get(WAITING, headers={"HX-Request": "true"})
    assert (asked.status_code, asked["HX-Refresh"]) == (204, "true")
    assert who(browser) is None


def test_an_outage_is_waited_for_a_minute_and_ends_by_itself(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    sandbox.fault("/user", "status", status=503, times=None)
    work()
    assert "Checking your login" in browser.get(WAITING).content.decode()

    sandbox.clear_faults()
    GuestTokenPair.objects.update(next_try_at=Now())
    work()

    assert browser.get(WAITING)["Location"] == "/"
    assert sandbox.exchanges() == 2, "one for the link, one for the sign-in"


@pytest.mark.parametrize(
    "fault", [("/user", "status", 503), (EXCHANGE, "status", 429), (EXCHANGE, "lost_answer", None)]
)
def test_an_outage_that_lasts_ends_in_a_calm_page_and_the_pair_is_erased(
    fault: tuple[str, str, int | None], sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    path, kind, status = fault
    sandbox.fault(path, kind, times=None, **({"status": status} if status else {}))
    GuestTokenPair.objects.update(received_at=Now() - timedelta(seconds=61))

    work()

    assert wording.NOT_SIGNED_IN["unreachable"].title in browser.get(WAITING).content.decode()
    assert GuestTokenPair.objects.latest("pk").sealed_access == b""


def test_a_lost_answer_is_not_sent_for_again(sandbox: Sandbox) -> None:
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    sandbox.fault(EXCHANGE, "lost_answer")

    work()

    assert sandbox.exchanges() == 1
    assert GuestTokenPair.objects.get().outcome == SignInOutcome.UNREACHABLE


def test_an_exchange_of_a_sign_in_shows_that_the_client_secret_is_accepted(sandbox: Sandbox) -> None:
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))

    work()

    assert ExchangeStatus.objects.get().accepted_secret


def test_keys_that_do_not_open_the_pair_are_a_setup_problem(sandbox: Sandbox) -> None:
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    GuestTokenPair.objects.update(code="another")

    work()

    assert sandbox.exchanges() == 0
    assert wording.NOT_SIGNED_IN["setup"].title in browser.get(WAITING).content.decode()


def test_an_answer_that_names_no_user_signs_in_nobody(
    sandbox: Sandbox, visit: Visit, alice: User, settings: Settings
) -> None:
    settings.SNAPINSPECT_SIGN_IN_FIELD = "iPersonID"
    browser = visit(alice)

    assert wording.NOT_LINKED["nameless"] in link(browser, sandbox)
    assert wording.NOT_SIGNED_IN["nameless"].title in sign_in_with_snapinspect(Visitor(), sandbox).content.decode()
    assert not LinkedUser.objects.exists()
