"""What strangers learn about addresses, and whom their wrong passwords keep out: nothing, and nobody."""

import statistics
import time
from collections.abc import Callable

import pytest
from django.conf import settings as project_settings
from django.core import mail
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts import known_browsers
from accounts.models import Customer, User
from connectapp import settings as product_settings
from tests.support.clients import Visitor
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]

PASSWORD = "correct horse battery"
WRONG = "wrong horse battery"
ELSEWHERE = "203.0.113.9"
TOO_MANY = "Too many wrong passwords"
ROUNDS = size(9, 50)


@pytest.fixture(autouse=True)
def no_attempts_before() -> None:
    cache.clear()


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user(email="olive@example.com", password=PASSWORD)


def sign_in(browser: Client, password: str) -> str:
    """The page that answers; empty for a redirect, which means that somebody is signed in."""
    answer = browser.post("/accounts/login/", {"login": "olive@example.com", "password": password})
    return "" if answer.status_code == 302 else answer.text


def guess_from_elsewhere() -> None:
    pages = [sign_in(Visitor(REMOTE_ADDR=ELSEWHERE), WRONG) for _ in range(6)]
    assert TOO_MANY in pages[-1]


def seconds_to_sign_up(email: str) -> float:
    fields = {"email": email, "password1": PASSWORD, "company": "Olive Homes"}
    browser = Visitor()
    browser.get("/accounts/signup/")
    cache.clear()  # the limit on sign-ups from one address
    begun = time.thread_time()  # of this thread alone: other tests run beside it
    answer = browser.post("/accounts/signup/", fields)
    took = time.thread_time() - begun
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/confirm-email/")
    return took


@pytest.mark.slow
def test_L11_signing_up_with_a_known_address_takes_as_long_as_with_a_new_one(owner: User, settings: Settings) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.PASSWORD_HASHERS = product_settings.PASSWORD_HASHERS
    seconds_to_sign_up("first@example.com")  # templates are compiled
    seconds_to_sign_up(owner.email)
    customers, mails = Customer.objects.count(), len(mail.outbox)

    pairs = [(seconds_to_sign_up(f"new{n}@example.com"), seconds_to_sign_up(owner.email)) for n in range(ROUNDS)]

    new, known = (statistics.median(times) for times in zip(*pairs, strict=True))
    record(
        "L11",
        "sign-ups with a known address beside as many with a new one",
        f"median {known * 1000:.0f} ms and {new * 1000:.0f} ms, {known / new:.2f} times as long",
    )
    # Without the work that is done for nothing it would be a tenth.
    most = size(2.0, 1.33)
    assert 1 / most <= known / new <= most
    assert Customer.objects.count() == customers + ROUNDS
    assert len(mail.outbox) == mails + 2 * ROUNDS
    assert User.objects.filter(email__startswith="new").count() == ROUNDS
    assert User.objects.count() == ROUNDS + 2, "the work that was done for nothing is gone"


def test_L11_wrong_passwords_from_elsewhere_keep_out_no_browser_that_signed_in_before(owner: User) -> None:
    browser = Visitor()
    assert sign_in(browser, PASSWORD) == ""
    browser.post("/accounts/logout/")

    guess_from_elsewhere()

    assert TOO_MANY in sign_in(Visitor(), PASSWORD), "a browser that nobody knows waits"
    assert sign_in(browser, PASSWORD) == ""
    record("L11", "the owner's browser after 6 wrong passwords from elsewhere", "signed in at once")


def test_a_known_browser_has_as_few_attempts_of_its_own(owner: User) -> None:
    browser = Visitor()
    sign_in(browser, PASSWORD)
    browser.post("/accounts/logout/")

    pages = [sign_in(browser, WRONG) for _ in range(6)]

    assert TOO_MANY not in pages[4]
    assert TOO_MANY in pages[5]
    assert TOO_MANY in sign_in(browser, PASSWORD)


def test_the_password_is_asked_again_of_a_known_browser_whatever_others_have_tried(owner: User) -> None:
    browser = Visitor()
    sign_in(browser, PASSWORD)
    guess_from_elsewhere()
    answer = browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert answer.status_code == 302


def test_a_browser_is_known_for_those_who_signed_in_there_only(owner: User, alice: User) -> None:
    browser = Visitor()
    alice.set_password(PASSWORD)
    alice.save()
    browser.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    browser.post("/accounts/logout/")
    guess_from_elsewhere()
    assert TOO_MANY in sign_in(browser, PASSWORD)


@pytest.mark.parametrize("change", [lambda text: text[:-1] + "?", lambda text: text[::-1], lambda text: "\x00" * 9])
def test_a_cookie_that_is_not_ours_makes_no_browser_known(change: Callable[[str], str], owner: User) -> None:
    browser = Visitor()
    sign_in(browser, PASSWORD)
    browser.post("/accounts/logout/")
    browser.cookies[known_browsers.COOKIE] = change(browser.cookies[known_browsers.COOKIE].value)
    guess_from_elsewhere()
    assert TOO_MANY in sign_in(browser, PASSWORD)


def test_several_people_who_share_a_browser_are_known_in_it_the_last_ones(owner: User) -> None:
    browser = Visitor()
    for number in range(known_browsers.MOST_PEOPLE):
        sign_in(browser, PASSWORD)
        browser.post("/accounts/logout/")
        other = User.objects.create_user(email=f"other{number}@example.com", password=PASSWORD)
        browser.post("/accounts/login/", {"login": other.email, "password": PASSWORD})
        browser.post("/accounts/logout/")
    guess_from_elsewhere()
    assert sign_in(browser, PASSWORD) == ""
    assert len(browser.cookies[known_browsers.COOKIE].value) < 1000


def test_the_cookie_names_nobody_and_no_script_reads_it(owner: User) -> None:
    browser = Visitor()
    sign_in(browser, PASSWORD)
    cookie = browser.cookies[known_browsers.COOKIE]
    assert "olive" not in cookie.value
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")
    assert bool(cookie["secure"]) == project_settings.SESSION_COOKIE_SECURE
