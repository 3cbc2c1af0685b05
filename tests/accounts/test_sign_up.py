"""People: signing up makes a person and their customer or nothing; signing in; and whose pages somebody may see."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import IntegrityError
from django.test import Client
from pytest_django import Settings

from accounts.models import Customer, Membership, Role, User
from tests.support.clients import Visitor, send_mail_through

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]

DORA = {"email": "dora@example.com", "password1": "correct horse", "company": "Dora's Flats"}
NOBODY_ANSWERS = "smtp://127.0.0.1:1"


def sign_up(browser: Client, **changed: str) -> Any:
    return browser.post("/accounts/signup/", {**DORA, **changed})


def sign_in(browser: Client, email: str, password: str = "correct horse battery") -> Any:
    return browser.post("/accounts/login/", {"login": email, "password": password})


def kept() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (User, Customer, Membership, EmailAddress))


def fields(page: str) -> dict[str, str]:
    """The form fields of a page by their accessible names, which are their labels."""
    labels = dict(re.findall(r'<label[^>]*\bfor="([^"]+)"[^>]*>\s*([^<]*?)\s*<', page))
    tags = [
        dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall(r"<(?:input|select|textarea)\b[^>]*>", page)
    ]
    return {labels[tag["id"]]: tag["name"] for tag in tags if tag.get("id") in labels}


def buttons(page: str) -> list[str]:
    """The accessible names of the buttons, which are their texts."""
    insides = re.findall(r"<button\b[^>]*>(.*?)</button>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", inside).split()) for inside in insides]


def without_numbers(page: str) -> str:
    """A page without what is different on each request."""
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"|<code>[0-9a-f]{16}</code>', "", page)


def test_signing_up_makes_a_person_and_the_customer_they_own_and_signs_in_at_once(stranger: Client) -> None:
    response = sign_up(stranger)

    owner = User.objects.get(email="dora@example.com")
    customer = owner.customers.get()
    assert customer.name == "Dora's Flats"
    assert Membership.objects.get(user=owner, customer=customer).role == Role.OWNER
    assert (response.status_code, response["Location"]) == (302, "/")
    assert stranger.get("/")["Location"] == f"/c/{customer.code}/"
    assert stranger.get(f"/c/{customer.code}/").status_code == 200


def test_two_companies_of_one_name_are_two_customers() -> None:
    sign_up(Visitor())
    sign_up(Visitor(), email="second@example.com")

    assert Customer.objects.filter(name="Dora's Flats").count() == 2
    assert Customer.objects.values_list("code").distinct().count() == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"password1": "dora@example.com"},
        {"password1": "password"},
        {"password1": "20202020"},
        {"password1": "short"},
        {"password1": ""},
        {"company": ""},
        {"company": "   "},
        {"company": "x" * 101},
        {"company": "nul\0byte"},
        {"email": ""},
        {"email": "nobody"},
        {"email": "x" * 250 + "@example.com"},
    ],
    ids=lambda changed: "{}={:.20}".format(*next(iter(changed.items()))).replace("\0", "NUL"),
)
def test_a_sign_up_that_is_refused_shows_the_form_again_and_leaves_nothing_behind(
    changed: dict[str, str], stranger: Client
) -> None:
    response = sign_up(stranger, **changed)

    assert response.status_code == 200
    assert "Sign up" in buttons(response.text)
    assert re.search(r'class="errorlist', response.text)
    assert kept() == (0, 0, 0, 0)
    assert stranger.get("/").status_code == 200, "somebody is signed in"


@pytest.mark.parametrize("email", ["alice@example.com", "ALICE@Example.com"])
def test_an_email_that_is_taken_makes_no_second_person_and_no_customer(
    email: str, stranger: Client, acme: Customer
) -> None:
    sign_up(Visitor())
    before = kept()

    for taken in (email, "DORA@example.com"):
        sign_up(stranger, email=taken)

    assert kept() == before


def test_a_sign_up_that_fails_half_way_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise IntegrityError("as if the database had refused")

    monkeypatch.setattr(Membership.objects, "create", fail)
    browser = Visitor(raise_request_exception=False)

    assert sign_up(browser).status_code == 500

    assert kept() == (0, 0, 0, 0)
    assert browser.get("/").status_code == 200
    monkeypatch.undo()
    assert sign_up(browser).status_code == 302, "the e-mail is free again"


@pytest.mark.parametrize("verification", ["mandatory", "optional"])
def test_a_confirmation_that_cannot_be_sent_undoes_the_sign_up_and_says_so(
    verification: str, stranger: Client, settings: Settings
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = verification
    send_mail_through(settings, NOBODY_ANSWERS)

    response = stranger.post("/accounts/signup/", DORA, follow=True)

    assert response.status_code == 200
    assert "We could not send the confirmation email, so no account was created" in response.text
    assert "Sign up" in buttons(response.text)
    assert kept() == (0, 0, 0, 0)
    assert stranger.get("/").status_code == 200
    # As soon as mail goes out again, the same person gets in with the same address.
    send_mail_through(settings, "memorymail://")
    assert sign_up(stranger).status_code == 302
    assert kept()[:2] == (1, 1)


def test_with_mandatory_verification_only_the_link_in_the_mail_signs_in(stranger: Client, settings: Settings) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"

    response = stranger.post("/accounts/signup/", DORA, follow=True)
    assert "Check your email" in response.text
    assert stranger.get("/").status_code == 200
    assert sign_in(Visitor(), DORA["email"], DORA["password1"])["Location"] == "/accounts/confirm-email/"

    link = re.search(r"http://localhost(/accounts/confirm-email/\S+)", str(mail.outbox[0].body))
    assert link
    stranger.post(link[1])
    assert EmailAddress.objects.get().verified
    assert sign_in(stranger, DORA["email"], DORA["password1"])["Location"] == "/"


def test_where_sign_up_is_closed_nobody_gets_in_by_it(stranger: Client, settings: Settings) -> None:
    settings.SIGNUP_OPEN = False

    assert "By invitation" in stranger.get("/accounts/signup/").text
    assert "Sign up" not in stranger.get("/").text
    sign_up(stranger)

    assert kept() == (0, 0, 0, 0)


@pytest.mark.parametrize("email", ["alice@example.com", "ALICE@EXAMPLE.COM", " Alice@Example.Com "])
def test_signing_in_does_not_mind_the_case_of_the_email(email: str, stranger: Client, acme: Customer) -> None:
    sign_in(stranger, email)
    assert stranger.get("/")["Location"] == f"/c/{acme.code}/"


@pytest.mark.parametrize(
    ("email", "password"),
    [("alice@example.com", "Correct horse battery"), ("nobody@example.com", "correct horse battery"), ("", "")],
)
def test_a_wrong_sign_in_does_not_tell_what_was_wrong(
    email: str, password: str, stranger: Client, acme: Customer
) -> None:
    response = sign_in(stranger, email, password)

    assert response.status_code == 200
    assert not Session.objects.exists() or stranger.get("/").status_code == 200
    if email:
        assert "The email address or the password is wrong." in response.text


def test_the_words_that_outside_clients_look_for_are_the_accessible_names(
    stranger: Client, visit: Visit, alice: User, acme: Customer
) -> None:
    up, signing_in = stranger.get("/accounts/signup/").text, stranger.get("/accounts/login/").text

    assert {"Email": "email", "Password": "password1", "Company name": "company"}.items() <= fields(up).items()
    assert {"Email": "login", "Password": "password"}.items() <= fields(signing_in).items()
    assert buttons(up) == ["Sign up"]
    assert buttons(signing_in).count("Sign in") == 1
    assert buttons(visit(alice).get(f"/c/{acme.code}/").text).count("Sign out") == 1


def test_sign_out_is_a_button_that_ends_the_session(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    browser.post("/accounts/logout/")

    assert browser.get(f"/c/{acme.code}/").status_code == 302
    assert browser.get("/").status_code == 200


def test_somebody_of_two_customers_can_switch_and_comes_back_to_the_one_used_last(
    visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    second = Customer.objects.create_with_owner("Bob's Own", owner=bob)
    browser = visit(bob)

    for customer in (second, acme, second):
        page = browser.get(f"/c/{customer.code}/").text
        for other in (acme, second):
            assert f'href="/c/{other.code}/"' in page
        assert browser.get("/")["Location"] == f"/c/{customer.code}/"
    assert visit(bob).get("/")["Location"] == f"/c/{second.code}/", "another browser of the same person"
    assert f"/c/{second.code}/" not in visit(alice).get(f"/c/{acme.code}/").text


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_is_signed_out_is_asked_to_sign_in_for_any_code_whether_it_exists_or_not(
    method: str, stranger: Client, acme: Customer
) -> None:
    for code in (acme.code, "nosuchcode22", "x"):
        for below in ("", "connect/", "connections/bcdfghjkmnpq/test/"):
            response = getattr(stranger, method)(f"/c/{code}/{below}")
            assert response.status_code == 302
            assert response["Location"] == f"/accounts/login/?next=/c/{code}/{below if method == 'get' else ''}"


def test_to_who_is_not_a_member_a_customer_does_not_exist(visit: Visit, charlie: User, acme: Customer) -> None:
    browser = visit(charlie)
    real, made_up = browser.get(f"/c/{acme.code}/"), browser.get("/c/nosuchcode22/")

    assert (real.status_code, made_up.status_code) == (404, 404)
    assert without_numbers(real.text) == without_numbers(made_up.text)


def test_a_viewer_may_look_and_not_touch(visit: Visit, victor: User, acme: Customer) -> None:
    browser = visit(victor)

    page = browser.get(f"/c/{acme.code}/")
    assert page.status_code == 200
    assert "Connect with SnapInspect" not in buttons(page.text)
    assert browser.post(f"/c/{acme.code}/connect/").status_code == 403


def test_who_is_removed_is_a_stranger_from_then_on(visit: Visit, bob: User, acme: Customer) -> None:
    browser = visit(bob)
    assert browser.get(f"/c/{acme.code}/").status_code == 200

    Membership.objects.filter(user=bob).delete()

    assert browser.get(f"/c/{acme.code}/").status_code == 404
    page = browser.get("/")
    assert page.status_code == 200
    assert "You are not a member of a company yet" in page.text
    assert acme.code not in page.text


def test_a_company_name_is_one_line_however_it_is_sent(stranger: Client) -> None:
    sign_up(stranger, company="Dora's\r\nFlats")
    assert Customer.objects.get().name == "Dora's Flats"
