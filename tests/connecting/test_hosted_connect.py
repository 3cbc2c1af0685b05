"""Row P4: the hosted Connect page, for people without an account here."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from connectapp.redaction import redact
from integrations.connecting import sessions
from integrations.models import Connection, ConnectSession, TokenPair
from tests.api.conftest import ApiClient, Keys
from tests.api.conftest import api as api  # noqa: PLC0414 (a fixture)
from tests.support.clients import OTHER, PAT, Sandbox, Visitor, quick_connect, work

pytestmark = pytest.mark.django_db(transaction=True)
BACK = "https://app.example/done?tab=1"
Made = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def return_origins(settings: Settings) -> None:
    settings.CONNECT_RETURN_ORIGINS = ["https://app.example", "http://localhost:3000", "com.example.app:"]


@pytest.fixture
def client(api: Keys) -> ApiClient:
    return api()


@pytest.fixture
def made(client: ApiClient, sandbox: Sandbox) -> Made:
    """A new session, for a customer of the operator's that is made with it."""

    def make(**asked: Any) -> dict[str, Any]:
        body = {"customer": {"external_id": "42", "name": "Initech"}, "return_to": BACK, **asked}
        session: dict[str, Any] = client.json("post", "connect-sessions", body, status=201)
        return session

    return make


def path_of(session: dict[str, Any]) -> str:
    return urlsplit(str(session["url"])).path


def start_connect(browser: Visitor, session: dict[str, Any]) -> str:
    answer: Any = browser.post(path_of(session))
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def status(client: ApiClient, session: dict[str, Any]) -> str:
    return str(client.json("get", f"connect-sessions/{session['id']}")["status"])


def test_from_the_operators_button_to_connected_and_back(client: ApiClient, made: Made, sandbox: Sandbox) -> None:
    session = made()
    assert (session["status"], session["connection"], session["customer"]["external_id"]) == ("open", None, "42")
    browser = Visitor()
    page: Any = browser.get(path_of(session))
    assert page.status_code == 200
    assert "Initech" in page.text and "Connect with SnapInspect" in page.text
    assert status(client, session) == "open"

    address = start_connect(browser, session)
    assert status(client, session) == "started"
    answer = browser.open_callback(sandbox.decide(address))
    assert answer.status_code == 303
    waiting: Any = browser.get(answer["Location"])
    assert "Connecting…" in waiting.text and "Refresh" in waiting
    work()
    end: Any = browser.get(answer["Location"])
    assert (end.status_code, end["Location"]) == (303, f"{BACK}&session={session['id']}&status=connected")

    told = client.json("get", f"connect-sessions/{session['id']}")
    connection = Connection.objects.get()
    assert (told["status"], told["connection"], told["url"]) == ("connected", connection.code, None)
    assert connection.customer.external_id == "42"
    assert connection.connected_by is None
    assert {"connect_session.made", "connect.started", "connect.allowed", "connect.connected"} <= set(
        AuditEntry.objects.values_list("kind", flat=True)
    )
    over: Any = browser.get(path_of(session))
    assert over.status_code == 410


def test_the_page_opens_under_the_name_to_which_snapinspect_returns(client: ApiClient, made: Made) -> None:
    """The cookie that binds a session to a browser is of one host."""
    client.defaults["SERVER_NAME"] = "testserver"
    assert made()["url"].startswith("http://localhost:8000/connect/sessions/")


def test_the_secret_of_the_address_is_stored_as_a_hash_and_masked(made: Made) -> None:
    session = made()
    secret = path_of(session).split("/")[3]
    assert secret not in str(list(ConnectSession.objects.values())) + str(list(AuditEntry.objects.values()))
    assert secret not in redact(f"GET {path_of(session)} 200")


def test_looking_does_not_use_it_up_and_the_first_browser_that_starts_gets_it(made: Made) -> None:
    session = made()
    scanner, person, second = Visitor(), Visitor(), Visitor()
    for browser in (scanner, second, person):
        assert browser.get(path_of(session)).status_code == 200
    start_connect(person, session)
    assert second.get(path_of(session)).status_code == 410
    assert second.post(path_of(session)).status_code == 410
    assert second.get(f"/connect/returned/{session['id']}/").status_code == 410
    # The back button of the browser that has it.
    assert person.get(path_of(session)).status_code == 200
    start_connect(person, session)


def test_a_return_in_another_browser_changes_nothing(client: ApiClient, made: Made, sandbox: Sandbox) -> None:
    session = made()
    person, thief = Visitor(), Visitor()
    back = sandbox.decide(start_connect(person, session))
    thief.get(path_of(session))
    assert thief.open_callback(back)["Location"] == "/connect/ended/hosted-over/"
    assert not Connection.objects.exists()
    # The person can still finish, and only once.
    first = person.open_callback(back)["Location"]
    assert person.open_callback(back)["Location"] == first
    work()
    assert status(client, session) == "connected"
    assert TokenPair.objects.count() == 1


def test_two_tabs_of_one_browser_bring_one_connection(client: ApiClient, made: Made, sandbox: Sandbox) -> None:
    session, browser = made(), Visitor()
    one, two = start_connect(browser, session), start_connect(browser, session)
    for address in (one, two):
        browser.open_callback(sandbox.decide(address))
    work()
    assert status(client, session) == "connected"
    assert Connection.objects.count() == 1


def test_declined_and_failed_are_told(client: ApiClient, made: Made, sandbox: Sandbox) -> None:
    session, browser = made(), Visitor()
    answer = browser.open_callback(sandbox.decide(start_connect(browser, session), decision="deny"))
    assert browser.get(answer["Location"])["Location"].endswith("status=declined")
    assert status(client, session) == "declined"

    session, browser = made(), Visitor()
    answer = browser.open_callback(sandbox.decide(start_connect(browser, session)))
    TokenPair.objects.all().delete()
    assert browser.get(answer["Location"])["Location"].endswith("status=failed")
    assert status(client, session) == "failed"


def test_a_refusal_without_the_state_is_told_to_somebody_without_an_account(
    client: ApiClient, made: Made, sandbox: Sandbox
) -> None:
    session, browser = made(), Visitor()
    address = start_connect(browser, session)

    response = browser.open_callback("/connect/callback/")

    assert response["Location"] == "/connect/ended/hosted-none/"
    page: Any = browser.get(response["Location"])
    assert "Go back to where you pressed Connect" in page.text
    assert status(client, session) == "started", "anybody can have that address opened"
    browser.open_callback(sandbox.decide(address))
    work()
    assert status(client, session) == "connected"
    assert Visitor().open_callback("/connect/callback/")["Location"] == "/connect/ended/signed-out/"


def test_without_a_client_id_no_session_is_made(client: ApiClient, settings: Settings) -> None:
    settings.SNAPINSPECT_CLIENT_ID = ""
    body = {"customer": {"external_id": "42", "name": "Initech"}, "return_to": BACK}
    assert "not set up" in client.json("post", "connect-sessions", body, status=409)["detail"]
    assert not Customer.objects.filter(external_id="42").exists()


def test_it_expires(client: ApiClient, made: Made) -> None:
    session, browser = made(), Visitor()
    start_connect(browser, session)
    ConnectSession.objects.update(created_at=Now() - ConnectSession.LIFETIME - timedelta(seconds=1))
    assert status(client, session) == "expired"
    assert browser.get(path_of(session)).status_code == 410
    assert browser.post(path_of(session)).status_code == 410
    assert browser.get(f"/connect/returned/{session['id']}/")["Location"].endswith("status=expired")


@pytest.mark.parametrize("wanted", ["add", "drop"])
def test_another_company_is_asked_about_on_the_page(
    wanted: str, client: ApiClient, made: Made, sandbox: Sandbox, alice: User, acme: Customer
) -> None:
    connection = quick_connect(acme, sandbox, by=alice)
    session = made(customer={"code": acme.code}, connection=connection.code)
    browser = Visitor()
    assert "Reconnect" in browser.get(path_of(session)).text
    answer = browser.open_callback(sandbox.decide(start_connect(browser, session), account=OTHER))
    work()
    question: Any = browser.get(answer["Location"])
    assert "another company" in question.text and "7001" in question.text
    assert "If you do not connect it, we delete our access to it. Nothing else changes." in question.text
    stranger: Any = Visitor().post(f"/connect/returned/{session['id']}/answer/", {"answer": "add"})
    assert stranger.status_code == 410

    browser.post(f"/connect/returned/{session['id']}/answer/", {"answer": wanted})
    expected = {"add": "connected", "drop": "declined"}[wanted]
    assert status(client, session) == expected
    assert browser.get(answer["Location"])["Location"].endswith(f"status={expected}")
    assert set(acme.connections.values_list("company_id", flat=True)) == (
        {"6847", "7001"} if wanted == "add" else {"6847"}
    )


def test_one_connection_is_reconnected(
    client: ApiClient, made: Made, sandbox: Sandbox, alice: User, acme: Customer
) -> None:
    connection = quick_connect(acme, sandbox, by=alice)
    session, browser = made(customer={"code": acme.code}, connection=connection.code), Visitor()
    browser.open_callback(sandbox.decide(start_connect(browser, session), account=PAT))
    work()
    assert status(client, session) == "connected"
    assert acme.connections.get() == connection


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://app.example", True),
        ("https://app.example/a?b=c", True),
        ("http://localhost:3000/x", True),
        ("com.example.app:/done", True),
        ("https://app.example.evil.example/", False),
        ("https://app.example@evil.example/", False),
        ("https://app.example:444/", False),
        ("http://app.example/", False),
        ("https://evil.example/https://app.example", False),
        ("https://app.example\\@evil.example/", False),
        ("https://app.example/#x", False),
        ("https://app.example/\r\nX: y", False),
        ("//app.example/", False),
        ("/", False),
        ("", False),
        ("javascript:alert(1)", False),
        ("com.example.other:/", False),
        ("https://[", False),
    ],
)
def test_people_are_sent_back_to_listed_origins_only(
    address: str, allowed: bool, client: ApiClient, made: Made
) -> None:
    assert sessions.is_allowed_return(address) is allowed
    body = {"customer": {"external_id": "1", "name": "I"}, "return_to": address}
    client.json("post", "connect-sessions", body, status=201 if allowed else 422)


def test_what_is_asked_for_is_checked(client: ApiClient, api: Keys, made: Made, acme: Customer) -> None:
    def ask(by: ApiClient, status: int, customer: Any, **more: Any) -> None:
        by.json("post", "connect-sessions", {"customer": customer, "return_to": BACK, **more}, status=status)

    ask(client, 422, {})
    ask(client, 422, {"code": acme.code, "external_id": "1"})
    ask(client, 404, {"code": "nosuchcode22"})
    ask(client, 404, {"external_id": "new"})
    other = Connection.objects.create(customer=Customer.objects.create(name="Other"))
    ask(client, 404, {"code": acme.code}, connection=other.code)
    own = api(customer=acme)
    ask(own, 404, {"code": other.customer.code})
    ask(own, 403, {"external_id": "new", "name": "New"})
    ask(own, 201, {"code": acme.code})
    session = made()
    own.json("get", f"connect-sessions/{session['id']}", status=404)


def test_a_made_up_address_and_a_forged_post_are_refused(made: Made) -> None:
    assert Visitor().get("/connect/sessions/made-up/").status_code == 410
    session = made()
    browser = Visitor(enforce_csrf_checks=True)
    browser.get(path_of(session))
    assert browser.post(path_of(session)).status_code == 403
    assert ConnectSession.objects.get(code=session["id"]).status == "open"
