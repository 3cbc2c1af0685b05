"""Pages of one's account: our words instead of allauth's, with the navigation of the company; and where staff land."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import allauth
import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings as project
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.test import Client

from accounts.adapter import AccountAdapter
from accounts.models import Customer, Membership, Role, User
from accounts.second_factors import MFAAdapter
from integrations.models import Connection
from tests.support.http_visitor import Visitor

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]
PASSWORD = "correct horse battery"

STOCK = Path(allauth.__file__).parent / "templates"
# For codes instead of links, telephone numbers and sign-ups by passkey, which are not in use here.
UNUSED = (
    "_code", "phone", "trust.html", "signup_by_passkey", "webauthn/signup_form", "/email_change.html",
    "/base", "/snippets/", "/email/",
)  # fmt: skip
PAGES = sorted(
    name
    for part in ("account", "mfa", "usersessions")
    for path in (STOCK / part).rglob("*.*")
    if not any(word in (name := str(path.relative_to(STOCK))) for word in UNUSED)
    and name != "account/email_change.html"
)
MANAGE = ["/accounts/2fa/", "/accounts/email/", "/accounts/password/change/", "/accounts/profile/",
          "/accounts/sessions/", "/accounts/notifications/", "/accounts/snapinspect/"]  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_no_sentence_of_allauth_is_shown(name: str) -> None:
    if name.endswith("recovery_codes/download.txt"):
        return  # the codes alone
    origin = Path(get_template(name).template.origin.name)  # type: ignore[attr-defined]
    assert origin.is_relative_to(project.BASE_DIR / "templates"), name


def test_no_mistake_is_told_in_words_of_allauth() -> None:
    unused = re.compile("phone|username|select_only_one")
    for ours, theirs in ((AccountAdapter, DefaultAccountAdapter), (MFAAdapter, DefaultMFAAdapter)):
        for kind, words in theirs.error_messages.items():
            assert unused.search(kind) or ours.error_messages[kind] != words, kind


def test_the_scripts_of_allauth_that_our_pages_use_exist() -> None:
    for script in ("account/js/account.js", "account/js/onload.js", "mfa/js/webauthn.js", "mfa/js/webauthn-json.js"):
        assert finders.find(script), script


@pytest.mark.parametrize("address", MANAGE)
def test_account_pages_keep_the_navigation_of_the_company_used_last(
    address: str, visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    theirs = charlie.customers.get()
    Membership.objects.create(user=alice, customer=theirs, role=Role.VIEWER)
    browser = visit(alice)
    for customer, may_explore in ((theirs, False), (acme, True)):
        browser.get(f"/c/{customer.code}/")
        page = browser.get(address).text
        assert f'href="/c/{customer.code}/events/"' in page
        assert (f'href="/c/{customer.code}/explorer/"' in page) == may_explore


def test_who_belongs_to_no_company_has_no_navigation(visit: Visit, alice: User) -> None:
    alice.memberships.all().delete()
    page = visit(alice).get("/accounts/profile/").text
    assert 'href="/c/' not in page and "Profile" in page


@pytest.fixture
def staff(alice: User) -> User:
    return User.objects.create_superuser("staff@example.com", "correct horse battery")


def test_staff_land_on_operations_unless_they_belong_to_a_company(visit: Visit, staff: User, acme: Customer) -> None:
    browser: Any = visit(staff)
    assert browser.get("/")["Location"] == "/staff/"
    assert browser.get("/staff/")["Location"] == "/staff/operations/"
    Membership.objects.create(user=staff, customer=acme, role=Role.MEMBER)
    assert browser.get("/")["Location"] == f"/c/{acme.code}/"


def test_a_staff_form_that_cannot_be_read_is_a_bad_request_and_the_operator_is_told(
    visit: Visit, staff: User, acme: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    sent = {"user": "x", "customer": str(acme.pk), "role": Role.VIEWER}
    assert visit(staff).post("/admin/accounts/membership/add/", sent).status_code == 400
    (told,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert told.name == "django.request" and told.exc_info
    assert not Membership.objects.filter(role=Role.VIEWER).exists()


@pytest.mark.parametrize("address", ["http://[", "http://[::1", "//[", "http://\u2100.example/"])
def test_a_next_that_is_no_address_is_ignored(address: str, stranger: Client, alice: User) -> None:
    for page in ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"):
        assert stranger.get(page, {"next": address}).status_code == 200
    answer: Any = stranger.post("/accounts/login/", {"login": alice.email, "password": PASSWORD, "next": address})
    assert answer["Location"] == "/"


def test_a_customers_page_tells_staff_where_to_look(visit: Visit, staff: User, charlie: User, acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme, company_id="6847")
    for address, where in (
        (f"/c/{acme.code}/", f"/admin/accounts/customer/?q={acme.code}"),
        (f"/c/{acme.code}/connections/{connection.code}/", f"/admin/integrations/connection/?q={connection.code}"),
        (f"/c/{acme.code}/events/{'b' * 12}/", f"/admin/integrations/event/?q={'b' * 12}"),
        ("/c/made-up/", "/admin/accounts/customer/?q=made-up"),
    ):
        answer = visit(staff).get(address)
        assert answer.status_code == 404 and f'href="{where}"' in answer.text
        assert "/admin/" not in visit(charlie).get(address).text
    assert acme.code in visit(staff).get(f"/admin/accounts/customer/?q={acme.code}").text
    assert "Look in the administration" not in visit(staff).get("/nowhere/").text
