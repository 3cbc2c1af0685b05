"""Mails of every kind: plain text and HTML, the operator's mark, one button, and subjects of one style."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import allauth
import pytest
from allauth.account.adapter import get_adapter
from allauth.core import context
from django.core import mail
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from accounts import brand, branded_mail, invitations
from accounts.models import Customer, Role, User
from tests.support.clients import Visitor

ROOT = Path(__file__).resolve().parents[2]
STOCK = Path(allauth.__file__).parent / "templates"
# Codes instead of links, which are not in use here.
UNUSED = {"account/email/login_code", "account/email/password_reset_code"}
PREFIXES = sorted(
    {
        str(path.relative_to(STOCK)).removesuffix("_subject.txt")
        for part in ("account", "mfa")
        for path in (STOCK / part / "email").glob("*_subject.txt")
    }
    - UNUSED
)
CONTEXT = {
    "user": SimpleNamespace(email="dora@example.com"),
    "activate_url": "https://app.example.com/confirm/?a=1&b=2",
    "password_reset_url": "https://app.example.com/reset/",
    "signup_url": "https://app.example.com/signup/",
    "from_email": "old@example.com",
    "to_email": "new@example.com",
    "deleted_email": "old@example.com",
    "ip": "203.0.113.7",
    "user_agent": "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/140.0",
    "timestamp": timezone.now(),
}


def html_of(letter: Any) -> str:
    (alternative,) = letter.alternatives
    assert alternative.mimetype == "text/html"
    return str(alternative.content)


def check(letter: Any) -> None:
    html = html_of(letter)
    assert re.fullmatch(r"Harbour Hub: \S.*[^.]", str(letter.subject))
    assert html.count("display:inline-block") == 1, "one button"
    assert 'src="http://localhost:8000/static/favicon.svg"' in html and "background:#ffee00;color:#000000" in html
    (button,) = re.findall(r'<a href="([^"]+)" style="display', html)
    assert button.startswith("http") and button.replace("&amp;", "&") in str(letter.body)
    for part in (str(letter.body), html):
        assert "Thank you" not in part and "Hello from" not in part and "{{" not in part
    assert "Harbour Hub" in str(letter.from_email)


@pytest.fixture(autouse=True)
def operator(settings: Settings) -> None:
    settings.APP_NAME, settings.BRAND_LOGO, settings.BRAND_ACCENT = "Harbour Hub", "favicon.svg", "#ffee00"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_mail_of_allauth_is_ours(prefix: str) -> None:
    with context.request_context(RequestFactory().get("/")):
        letter = get_adapter().render_mail(prefix, "dora@example.com", {**CONTEXT, "email": "dora@example.com"})

    check(letter)
    assert letter.to == ["dora@example.com"]


def test_an_invitation_is_escaped_in_html_and_plain_in_text(alice: User, acme: Customer) -> None:
    Customer.objects.filter(pk=acme.pk).update(name="Ben & <b>Jerry")
    acme.refresh_from_db()
    invitations.invite(RequestFactory().get("/"), acme, "dora@example.com", Role.MEMBER, by=alice)

    (letter,) = mail.outbox
    check(letter)
    assert str(letter.subject) == "Harbour Hub: you are invited to join Ben & <b>Jerry"
    assert "join Ben & <b>Jerry on" in str(letter.body)
    assert "join Ben &amp; &lt;b&gt;Jerry on" in html_of(letter)


def test_a_password_reset_names_the_account_and_nothing_of_the_server(alice: User) -> None:
    Client().post("/accounts/password/reset/", {"email": alice.email})

    (letter,) = mail.outbox
    assert str(letter.subject) == "Harbour Hub: reset your password"
    link = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", str(letter.body))
    assert link and Visitor().get(link[1], follow=True).status_code == 200
    assert "testserver" not in str(letter.body).replace(link[0], "")


def test_the_sender_keeps_the_name_that_the_operator_gave(settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Harbour Team <team@example.com>"
    letter = branded_mail.message("integrations/mail/recovered.txt", {"address": "https://x.example"}, to="a@b.example")
    assert letter.from_email == "Harbour Team <team@example.com>"


def test_the_accent_of_mails_is_that_of_the_pages() -> None:
    rgb = re.search(r"--bs-primary-rgb: (\d+), (\d+), (\d+);", (ROOT / "static/app.css").read_text())
    assert rgb and ",".join(rgb.groups()) == brand.rgb(brand.ACCENT)
