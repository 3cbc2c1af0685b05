"""Which SnapInspect user is linked to whom."""

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from integrations import wording
from integrations.connecting import sign_in
from integrations.models import ConnectAttempt, LinkedUser
from integrations.snapinspect.profile import read_user, user_id
from tests.support.clients import OTHER, PAT, Sandbox, Visitor, audited, work
from tests.support.sign_in import ACCOUNT, WAITING, leave_to_link, leave_to_sign_in, link, token_in, who

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_guest_pair_left")]
Visit = Callable[[User], Visitor]


def test_a_user_that_somebody_else_has_linked_cannot_be_linked_again(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    link(visit(alice), sandbox)
    browser = visit(charlie)
    address = sandbox.decide(leave_to_link(browser))
    browser.open_callback(address)
    work()

    page = browser.get(ACCOUNT).content.decode()
    assert wording.NOT_LINKED["taken"] in page
    assert "alice" not in page
    assert "Someone else" not in browser.get(ACCOUNT).content.decode(), "it is told once"
    assert LinkedUser.objects.get().user == alice
    assert not sandbox.accepts(token_in(address))
    assert audited("link.taken") == 1


def test_a_second_user_is_linked_only_after_the_first_was_unlinked(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    browser = visit(alice)
    begun_before = leave_to_link(browser)
    link(browser, sandbox, PAT)
    assert browser.post(f"{ACCOUNT}link/")["Location"] == ACCOUNT

    browser.open_callback(sandbox.decide(begun_before, account=OTHER))
    work()
    assert wording.NOT_LINKED["other"] in browser.get(ACCOUNT).content.decode()
    assert LinkedUser.objects.get().vendor_user_id == PAT

    browser.post(f"{ACCOUNT}unlink/")
    link(browser, sandbox, OTHER)
    assert LinkedUser.objects.get().vendor_user_id == OTHER


def test_linking_asks_for_the_password_again(visit: Visit, alice: User) -> None:
    response = visit(alice).post(f"{ACCOUNT}link/")

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/reauthenticate/")
    assert not ConnectAttempt.objects.exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_who_has_unlinked_their_user_is_not_let_in_with_it(
    when: str, sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    at_home, elsewhere = visit(alice), Visitor()
    link(at_home, sandbox)
    elsewhere.open_callback(sandbox.decide(leave_to_sign_in(elsewhere)))
    if when == "before":
        at_home.post(f"{ACCOUNT}unlink/")
    work()
    if when == "meanwhile":
        at_home.post(f"{ACCOUNT}unlink/")

    assert wording.NOT_SIGNED_IN["unknown"].title in elsewhere.get(WAITING).content.decode()
    assert who(elsewhere) is None
    assert audited("link.unlinked") == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"iUserID": 501}, "501"),
        ({"iUserID": "501"}, "501"),
        ({"iUserID": "0501"}, "0501"),
        ({"iUserID": "a7-Ü"}, "a7-Ü"),
        ({"user": {"iUserID": 5}, "company": {"iCompanyID": 7}}, "5"),
        ({"iUserID": 5, "manager": {"iUserID": 6}}, "5"),
        ({"manager": {"iUserID": 6}, "user": {"iUserID": 5}}, None),
        ([{"iUserID": 5}, {"iUserID": 6}], None),
        ({"iUserID": None, "manager": {"iUserID": 6}}, None),
        ({"iUserID": "", "sName": "Ann"}, None),
        ({"iUserID": " 5"}, None),
        ({"iUserID": "5\n"}, None),
        ({"iUserID": "5\0"}, None),
        ({"iUserID": "\u200b5"}, None),
        ({"iUserID": "x" * 65}, None),
        ({"iUserID": True}, None),
        ({"iUserID": 5.0}, None),
        ({"iUserID": -5}, None),
        ({"iUserID": 0, "sName": "Ann"}, None),
        ({"iUserID": 10**30}, None),
        ({"iUserID": [5]}, None),
        ({"iUserID": {"value": 5}}, None),
        ({"iUserID": "[token]"}, None),
        ({"iuserid": 5}, None),
        ({"sName": "Ann"}, None),
    ],
    ids=repr,
)
def test_a_user_id_is_one_exact_text_or_none(answer: Any, expected: str | None) -> None:
    assert user_id(read_user(answer), "iUserID") == expected


def test_ids_that_differ_in_case_or_zeros_are_different_people(alice: User, charlie: User) -> None:
    LinkedUser.objects.create(user=alice, vendor_user_id="Ab")
    LinkedUser.objects.create(user=charlie, vendor_user_id="aB")

    assert sign_in.find_linked_user("Ab") == alice
    assert sign_in.find_linked_user("aB") == charlie
    assert sign_in.find_linked_user("ab") is sign_in.find_linked_user("0Ab") is None


def test_staff_see_who_has_linked_which_user_and_change_nothing(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    staff = visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))

    page = staff.get("/admin/integrations/linkeduser/").content.decode()

    assert alice.email in page
    assert PAT in page
    assert staff.get("/admin/integrations/linkeduser/add/").status_code == 403
