"""Row M1: nobody sees or moves what is another customer's, on any address."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.utils import timezone

from accounts.models import Customer, Invitation, Membership, Role, User
from integrations.api import keys
from integrations.connecting import links
from integrations.models import Connection, ConnectionTest, Event, Kind, Replay, Scope
from integrations.outgoing import delivery_actions, endpoints
from tests.pages.policy import ANYBODY, KEEP, KEY, LOOK, OWN, POLICY, STAFF, TOUCH
from tests.support.clients import OTHER, Sandbox, Visitor, quick_connect
from tests.support.deliveries import deliver, payload
from tests.support.urls import filled, routes

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]

# What must never be on a page for an outsider: names that only Acme's data holds.
ACMES = ("Acme Property", "Harbour", "pat@harbour.example", "alice@example.com", "bob@example.com")


ROUTES = list(routes())
OF_A_CUSTOMER = sorted({path for name, path in ROUTES if "<code>" in path and not path.startswith("/api/")})


@pytest.fixture
def values(sandbox: Sandbox, visit: Visit, alice: User, bob: User, victor: User, acme: Customer) -> dict[str, Any]:
    """What addresses of Acme's things are filled with; Acme is connected."""
    browser = visit(alice)
    connection = quick_connect(acme, sandbox, by=alice)
    endpoint, _ = endpoints.create(url="https://harbour.example/", types=["*"], customer=acme, by=alice)
    sent = delivery_actions.send_test(endpoint, by=alice)
    assert all(words in browser.get(f"/c/{acme.code}/").text for words in ("Acme Property", "Harbour"))
    check = ConnectionTest.objects.create(connection=connection, by=alice, duration=timedelta(), name="Pat Harbour")
    deliver(payload())
    personal = Connection.objects.create(customer=acme, kind=Kind.PERSONAL)
    return {
        "code": acme.code,
        "connection_code": connection.code,
        "pk": check.pk,
        "panel_code": "account",
        "replay_code": Replay.objects.create(customer=acme, matched=1, last_event=0).code,
        "event_code": Event.objects.get(connection=connection).code,
        "endpoint_code": endpoint.code,
        "delivery_code": sent.code,
        "resend_code": endpoint.resends.create(since=timezone.now(), matched=1, last_delivery=1).code,
        "ending": "used",
        "membership": Membership.objects.get(user=bob).pk,
        "invitation": Invitation.objects.create(
            customer=acme, email="dora@example.com", role=Role.VIEWER, expires_at=timezone.now() + timedelta(days=1)
        ).pk,
        "secret": links.issue(customer=acme, by=alice),
        "prefix": keys.issue(name="Own", scopes=Scope.values, customer=acme, by=alice)[0].prefix,
        "personal_token": {"connection_code": personal.code},
    }


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "correct horse battery")


def test_M1_every_address_has_a_stated_policy_and_every_policy_an_address() -> None:
    named = {name for name, path in ROUTES if not path.startswith("/admin/")}
    assert named == set(POLICY)
    assert {path for name, path in ROUTES if POLICY.get(name, ("",))[0] in INSIDE} == set(OF_A_CUSTOMER)
    assert all(path.startswith("/c/<code>/") for path in OF_A_CUSTOMER)


PEOPLE = ("stranger", "charlie", "staff", "victor", "bob", "alice")
INSIDE = {LOOK: {"victor", "bob", "alice"}, TOUCH: {"bob", "alice"}, KEEP: {"alice"}}


def answers(address: str, visit: Visit) -> Iterator[tuple[str, str, Any]]:
    """Who asked, how, and what they got, for everybody and both methods; a server error is raised."""
    cache.clear()  # allauth counts sign-ins and sign-ups
    for person in PEOPLE:
        browser = Visitor() if person == "stranger" else visit(User.objects.get(email=f"{person}@example.com"))
        for method in ("GET", "POST"):
            yield person, method, browser.generic(method, address)


def sent_to_sign_in(answer: Any) -> bool:
    return bool(answer.status_code == 302 and answer["Location"].startswith("/accounts/login/?next="))


# Pages of customers: who may open them, and by which methods.
PAGES = {name: policy for name, policy in POLICY.items() if policy[0] in INSIDE}
OUTSIDE = ("stranger", "charlie", "staff")


def browsers(visit: Visit, people: Iterable[str]) -> dict[str, Visitor]:
    """Each of these people, signed in, but for the stranger."""
    return {
        person: Visitor() if person == "stranger" else visit(User.objects.get(email=f"{person}@example.com"))
        for person in people
    }


def address_of(name: str, values: dict[str, Any]) -> str:
    return filled(dict(ROUTES)[name], values | values.get(name, {}))


def all_rows() -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, but for sessions: every request writes when they were last seen."""
    models = [model for model in apps.get_models() if model not in {Session, UserSession}]
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in models}


@pytest.mark.once
def test_M1_a_customers_page_does_not_exist_for_anybody_else_and_nothing_they_send_changes_a_row(
    values: dict[str, Any], visit: Visit, charlie: User, staff: User
) -> None:
    outsiders = browsers(visit, OUTSIDE)
    before = all_rows()
    for name, (_, methods) in PAGES.items():
        for person, browser in outsiders.items():
            for method in ("GET", "POST"):
                answer: Any = browser.generic(method, address_of(name, values))
                told = f"{person}: {method} {name}: {answer.status_code}"
                if person == "stranger":
                    assert sent_to_sign_in(answer), told
                    continue
                assert answer.status_code == (404 if method in methods else 405), told
                seen = answer.getvalue().decode() + str(answer.headers)
                if person == "staff":
                    # The way to the admin repeats the code that they asked for, whether it exists or not.
                    seen = re.sub(r'href="/admin/[a-z/]+\?q=[^"]+"', "", seen)
                words = (*ACMES, values["code"], values["connection_code"])
                assert [word for word in words if word in seen] == [], told
        assert all_rows() == before, name


@pytest.mark.once
def test_M1_a_customers_page_is_there_for_its_members_by_their_role_and_what_is_refused_changes_no_row(
    values: dict[str, Any], visit: Visit
) -> None:
    for person, browser in browsers(visit, INSIDE[LOOK]).items():
        before = all_rows()
        for method in ("POST", "GET"):
            for name, (who_may, methods) in PAGES.items():
                may = method in methods and person in INSIDE[who_may]
                if may and method == "POST":
                    continue  # changes rows, so it is tried below
                answer = browser.generic(method, address_of(name, values))
                expected = {200, 204, 302} if may else {403 if method in methods else 405}
                assert answer.status_code in expected, f"{person}: {method} {name}: {answer.status_code}"
            # A page that is opened may write, such as into the audit trail.
            assert method == "GET" or all_rows() == before, person


@pytest.mark.parametrize("name", [name for name, (_, methods) in PAGES.items() if "POST" in methods])
@pytest.mark.once
def test_M1_members_send_what_their_role_allows(name: str, values: dict[str, Any], visit: Visit) -> None:
    for person in (person for person in PEOPLE if person in INSIDE[PAGES[name][0]]):
        answer = browsers(visit, [person])[person].post(address_of(name, values))
        assert answer.status_code in {200, 204, 302}, f"{person}: POST {name}: {answer.status_code}"


@pytest.mark.once
def test_M1_other_pages_are_open_or_ones_own_as_stated_and_show_nothing_of_a_customer(
    values: dict[str, Any], visit: Visit, charlie: User, staff: User
) -> None:
    for name, path in ROUTES:
        who_may, methods = POLICY.get(name, (STAFF, ""))
        if who_may not in {ANYBODY, OWN}:
            continue
        for person, method, answer in answers(filled(path, values), visit):
            told = f"{person}: {method} {name}: {answer.status_code}"
            assert sent_to_sign_in(answer) is (person == "stranger" and who_may == OWN), told
            if person != "stranger" or who_may != OWN:
                assert (answer.status_code == 405) is (method not in methods), told
            if person not in INSIDE[LOOK]:
                assert [words for words in ACMES if words in answer.getvalue().decode() + str(answer.headers)] == [], (
                    told
                )


@pytest.mark.once
def test_M1_no_session_opens_the_api(values: dict[str, Any], visit: Visit, charlie: User, staff: User) -> None:
    people = browsers(visit, PEOPLE)
    before = all_rows()
    for name in (name for name, (who_may, _) in POLICY.items() if who_may == KEY):
        for person, browser in people.items():
            for method in ("GET", "POST"):
                answer = browser.generic(method, address_of(name, values))
                told = f"{person}: {method} {name}: {answer.status_code}"
                expected = 404 if name in {"api:unknown", "api:api-root"} else 401 if method in POLICY[name][1] else 405
                assert answer.status_code == expected, told
                assert answer["Content-Type"] == "application/problem+json", told
                assert not answer.cookies, told
        assert all_rows() == before, name


@pytest.mark.once
def test_M1_the_admin_is_for_staff_alone(values: dict[str, Any], visit: Visit, alice: User, staff: User) -> None:
    addresses = [
        filled(path, values) for name, path in ROUTES if path.startswith("/admin/") or POLICY[name][0] == STAFF
    ]
    for method in ("GET", "POST"):
        for browser in (Visitor(), visit(alice)):
            for address in addresses:
                answer = browser.generic(method, address)
                assert answer.status_code in {302, 403, 405}, address
                assert "Harbour" not in answer.text
        browser = visit(staff)
        for address in addresses:
            if "logout" not in address:
                answer = browser.generic(method, address)
                assert answer.status_code < 500, address
                assert "/login/" not in answer.get("Location", ""), address


@pytest.mark.once
def test_M1_other_peoples_codes_mixed_with_ones_own_are_not_found(
    values: dict[str, Any], sandbox: Sandbox, visit: Visit, charlie: User
) -> None:
    browser = visit(charlie)
    own = charlie.customers.get()
    connection = quick_connect(own, sandbox, by=charlie, account=OTHER)
    before = all_rows()

    for path in (path for path in OF_A_CUSTOMER if path.count("<") > 1):
        mixed = [values | {"code": own.code}]
        if "<connection_code>" in path:
            mixed.append(values | {"connection_code": connection.code})
        if "<pk>" in path:
            mixed.append(values | {"code": own.code, "connection_code": connection.code})
        for address in (filled(path, these) for these in mixed):
            for method in ("GET", "POST"):
                answer = browser.generic(method, address)
                assert answer.status_code in {404, 405}, address
                assert [words for words in ACMES if words in answer.getvalue().decode()] == [], address
        assert all_rows() == before, path


@pytest.mark.once
def test_M1_nobody_reaches_another_persons_second_factor(alice: User, charlie: User) -> None:
    factor = Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={"name": "Alice's key"})
    browser = Visitor()
    cache.clear()  # sign-ins are counted
    browser.post("/accounts/login/", {"login": charlie.email, "password": "correct horse battery"})
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})

    for what in ("edit", "remove"):
        for method in ("GET", "POST"):
            answer = browser.generic(method, f"/accounts/2fa/webauthn/keys/{factor.pk}/{what}/")
            assert answer.status_code == 404, answer.get("Location")
    assert Authenticator.objects.filter(pk=factor.pk).exists()
