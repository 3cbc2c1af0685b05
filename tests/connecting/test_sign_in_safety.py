"""Rows H4 and H5: guessing passwords, planting sessions, and leading people elsewhere after they have signed in."""

import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from integrations import checks
from tests.support.clients import Visitor
from tests.support.measurements import record

PASSWORD = "correct horse battery"
Visit = Callable[[User], Visitor]

ELSEWHERE = [
    "https://evil.example", "https://evil.example/", "http://evil.example/x", "//evil.example", "///evil.example",
    "////evil.example", "/\\evil.example", "\\\\evil.example", "/\\/evil.example", "https:evil.example",
    "https:/evil.example", "https:///evil.example", "HTTPS://EVIL.EXAMPLE", "javascript:alert(1)",
    "JaVaScRiPt:alert(1)", "data:text/html,<script>1</script>", "vbscript:x", " https://evil.example",
    "\thttps://evil.example", "\nhttps://evil.example", "https://testserver@evil.example",
    "https://testserver.evil.example", "https://evil.example#testserver", "https://evil.example?testserver",
    "//evil.example/%2f..", "/%09/evil.example", "/%5cevil.example", "ftp://evil.example", "//[2001:db8::1]/x", "https://evil。example",
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.once
def test_H5_no_next_leads_off_this_site(alice: User) -> None:
    left, redirects = [], 0
    for elsewhere in ELSEWHERE:
        cache.clear()  # the limits on signing in are not what is tried here
        new = {"email": f"{secrets.token_hex(4)}@example.com", "password1": PASSWORD, "company": "A"}
        for path, fields in {
            "/accounts/login/": {"login": alice.email, "password": PASSWORD},
            "/accounts/signup/": new,
            "/accounts/logout/": {},
            "/accounts/reauthenticate/": {"password": PASSWORD},
        }.items():
            browser = Visitor()
            if path not in {"/accounts/login/", "/accounts/signup/"}:
                browser.force_login(alice)
            for answer in (
                browser.get(path, {"next": elsewhere}),
                browser.post(path, {**fields, "next": elsewhere}, query_params={"next": elsewhere}),
            ):
                target = urlsplit(answer.headers.get("Location", ""))
                redirects += answer.status_code == 302
                if target.netloc not in {"", "testserver"} or target.scheme not in {"", "http", "https"}:
                    left.append((path, elsewhere, answer.headers["Location"]))
    record("H5", "30 values of next on four forms", f"{len(left)} lead off the site")
    assert left == []
    assert redirects >= 3 * len(ELSEWHERE), "the forms did their work, so the values were judged"


@pytest.mark.django_db
def test_H4_a_session_planted_before_the_sign_in_is_worth_nothing_after_it(alice: User, stranger: Client) -> None:
    stranger.get("/accounts/login/")
    session = stranger.session
    session["planted"] = True
    session.save()
    planted = session.session_key or ""
    stranger.cookies["sessionid"] = planted

    stranger.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})

    assert stranger.session.session_key != planted
    thief = Visitor()
    thief.cookies["sessionid"] = planted
    assert thief.get("/accounts/email/").status_code == 302


@pytest.mark.django_db
def test_H4_a_new_password_ends_all_other_sessions(alice: User, visit: Visit) -> None:
    here, elsewhere = visit(alice), visit(alice)
    here.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    answer = here.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": "another horse battery", "password2": "another horse battery"},
    )

    assert answer.status_code == 302
    assert here.get("/accounts/email/").status_code == 200
    assert elsewhere.get("/accounts/email/").status_code == 302


def test_H4_limits_that_each_process_counts_for_itself_are_warned_about(settings: Settings) -> None:
    settings.DEBUG = False
    assert [warning.id for warning in checks.rate_limits_are_shared(None)] == ["integrations.W006"]
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache"}}
    assert checks.rate_limits_are_shared(None) == []
