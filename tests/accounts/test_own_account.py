"""A person's own account: sessions, password, closing it."""

from collections.abc import Callable

import pytest

from accounts.models import Customer, Membership, Role, User
from accounts.templatetags.browsers import browser as in_words
from tests.accounts.test_people import audited, is_in, roles
from tests.accounts.test_sign_up import sign_in
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def signed_in(user: User) -> Visitor:
    browser = Visitor(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
    assert sign_in(browser, user.email).status_code == 302
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    return browser


def test_sign_out_everywhere_else_ends_all_sessions_but_this_one(bob: User, alice: User, acme: Customer) -> None:
    here, phone, stolen, of_alice = signed_in(bob), signed_in(bob), signed_in(bob), signed_in(alice)
    page = here.get("/accounts/sessions/").text
    assert page.count("Firefox on Linux") == 3
    assert page.count("(this one)") == 1

    assert "You signed out everywhere else" in here.post("/accounts/sessions/", follow=True).text

    assert [is_in(browser, acme) for browser in (here, phone, stolen, of_alice)] == [True, False, False, True]


def test_a_new_password_ends_the_other_sessions(bob: User, acme: Customer) -> None:
    here, stolen = signed_in(bob), signed_in(bob)

    new = "a quite different phrase"
    here.post(
        "/accounts/password/change/", {"oldpassword": "correct horse battery", "password1": new, "password2": new}
    )

    assert [is_in(browser, acme) for browser in (here, stolen)] == [True, False]
    assert sign_in(Visitor(), bob.email, new).status_code == 302


def test_who_closes_their_account_is_gone_and_the_trail_still_says_who_did_what(
    visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    here, phone = signed_in(bob), signed_in(bob)
    here.post(f"/c/{acme.code}/connect/")

    assert "Close your account?" in here.get("/accounts/close/").text
    page = here.post("/accounts/close/", follow=True).text

    assert "The account of bob@example.com is closed" in page
    assert not User.objects.filter(email=bob.email).exists()
    assert not is_in(here, acme)
    assert not is_in(phone, acme)
    assert "bob" not in roles(acme)
    for kind in ("connect.started", "account.closed"):
        entry = audited(kind)
        assert (entry.actor, entry.who) == (None, "bob@example.com")
    assert sign_in(Visitor(), bob.email).status_code == 200, "the sign-in form again"


def test_an_account_is_closed_although_an_owner_removes_the_person_at_that_moment(
    bob: User, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, end = signed_in(bob), Membership.end

    def removed_meanwhile(membership: Membership) -> None:
        Membership.objects.filter(pk=membership.pk).delete()
        end(membership)

    monkeypatch.setattr(Membership, "end", removed_meanwhile)

    assert "The account of bob@example.com is closed." in browser.post("/accounts/close/", follow=True).text
    assert not User.objects.filter(pk=bob.pk).exists()


def test_an_account_is_closed_by_who_has_just_shown_that_it_is_them(visit: Visit, bob: User, acme: Customer) -> None:
    answer = visit(bob).post("/accounts/close/")

    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert User.objects.filter(pk=bob.pk).exists()


def test_the_last_owner_of_any_company_cannot_close_their_account(alice: User, bob: User, acme: Customer) -> None:
    second = Customer.objects.create_with_owner("Second", owner=bob)
    Membership.objects.create(user=alice, customer=second, role=Role.MEMBER)
    browser = signed_in(alice)

    page = browser.post("/accounts/close/", follow=True).text

    assert "only owner of a company" in page
    assert (roles(acme)["alice"], roles(second)["alice"]) == ("owner", "member"), "all of it or nothing"
    assert is_in(browser, acme)


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "A browser"),
        ("", "A browser"),
    ],
)
def test_a_session_is_named_after_its_browser(user_agent: str, words: str) -> None:
    assert in_words(user_agent) == words
