"""Every screen in a real Chromium, light and dark, wide and at 320 px: nothing on the console (the content security
policy refuses loudly), nothing serious for axe to say, no sideways scroll. Pictures land in var/screenshots/.

A new page adds its name and address to PLAIN, or, where rows have to exist first, a function under @screen.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.account.internal.flows import login
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import audit, mail_preferences
from accounts.models import Customer, Invitation, Role, User
from integrations import wording
from integrations.calls.tables import Cell, Table
from integrations.connecting import links
from integrations.models import (
    Attempt,
    Connection,
    ConnectionTest,
    Delivery,
    Event,
    EventDelivery,
    ExplorerAnswer,
    ExplorerCall,
    Kind,
    LinkedUser,
    Panel,
    PanelAnswer,
    Replay,
    State,
    Worker,
)
from tests.browser.test_main_path import CHROMIUM, PICTURES, QUIET
from tests.support.many_events import make_events

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]


@dataclass
class Scene:
    """Who and what is there before a screen is opened: Acme with its owner Alice, its member Bob, its viewer Victor."""

    acme: Customer
    alice: User
    bob: User
    victor: User

    def connection(self, company: str = "6847", name: str = "Harbour PM", **fields: object) -> Connection:
        """A connection of Acme's that has worked, in any state."""
        now = timezone.now()
        return Connection.objects.create(
            **{
                "customer": self.acme,
                "company_id": company,
                "company_name": name,
                "state": State.CONNECTED,
                "connected_by": self.alice,
                "connected_at": now - timedelta(days=20),
                "proved_at": now - timedelta(minutes=2),
                "state_since": now - timedelta(days=3),
                **fields,
            }
        )

    def panel_answer(self, panel: Panel | None, connection: Connection, **fields: object) -> PanelAnswer:
        """What a panel has shown of the connection a minute ago, and will not ask for anew."""
        now = timezone.now()
        times = {"fetched_at": now - timedelta(minutes=1), "next_ask_at": now + timedelta(hours=1)}
        return PanelAnswer.objects.create(panel=panel, connection=connection, **{**times, **fields})

    def events(self, connection: Connection, days: int = 30) -> None:
        """A month of events: more on weekdays, a few that failed, the newest still waiting."""
        now, rows = timezone.now(), []
        for day in range(days):
            at = now - timedelta(days=day)
            for number in range(3 if at.weekday() > 4 else 8 + day * 7 % 9):
                state = Event.State.FAILED if number == 5 and day % 4 == 0 else Event.State.DONE
                if day == 0 and number < 3:
                    state = Event.State.RETRYING
                received = at - timedelta(minutes=number * 3)
                rows.append(Event(connection=connection, state=state, type="Create_Inspection", received_at=received))
        Event.objects.bulk_create(reversed(rows))

    def franchise(self) -> None:
        """Twelve connections, in every state."""
        for number, state in enumerate([*State, *[State.CONNECTED] * 6]):
            connection = self.connection(str(7000 + number), f"Harbour {TOWNS[number]}", state=state)
            self.events(connection, days=number)


TOWNS = ["Bay", "Hill", "Quay", "Mill", "Park", "Vale", "Cross", "Bridge", "Green", "Wood", "Lake", "Stone"]

# What the owner Alice sees of Acme without further rows. "{code}" is the customer's.
PLAIN = {
    "first-run": "/c/{code}/",
    "no-connections": "/c/{code}/connections/",
    "no-events": "/c/{code}/events/",
    "explorer-without-a-connection": "/c/{code}/explorer/",
    "security": "/accounts/2fa/",
    "snapinspect-user": "/accounts/snapinspect/",
    "people-alone": "/c/{code}/people/",
    "company": "/c/{code}/company/",
    "leave": "/c/{code}/people/leave/",
    "start-company": "/accounts/companies/",
    "notifications": "/accounts/notifications/",
    "sessions": "/accounts/sessions/",
    "email-addresses": "/accounts/email/",
    "password": "/accounts/password/change/",
    "reauthenticate": "/accounts/reauthenticate/",
    "invitation-gone": "/accounts/invitations/made-up/",
    "stop-mails-broken": "/accounts/notifications/stop/made-up/",
    "not-found": "/c/nosuchcustomer/",
}
# What only somebody who has just shown that it is them may open.
PLAIN |= {
    "authenticator-app": "/accounts/2fa/totp/activate/",
    "security-keys": "/accounts/2fa/webauthn/",
    "add-security-key": "/accounts/2fa/webauthn/add/",
    "close-account": "/accounts/close/",
}
# What a stranger sees.
SIGNED_OUT = {
    "welcome": "/",
    "sign-in": "/accounts/login/",
    "sign-in-with-snapinspect": "/accounts/snapinspect/sign-in/",
    "sign-up": "/accounts/signup/",
    "reset-password": "/accounts/password/reset/",
    "reset-password-sent": "/accounts/password/reset/done/",
    "check-your-email": "/accounts/confirm-email/",
    "confirmation-too-old": "/accounts/confirm-email/made-up/",
    "invited-sign-up": "/accounts/invitations/{token}/signup/",
    "invitation": "/accounts/invitations/{token}/",
}
TOKEN = "the-token-of-an-invitation"
# What needs rows first: each returns the address to open.
SCREENS: dict[str, Callable[[Scene], str]] = {}


def screen(prepare: Callable[[Scene], str]) -> Callable[[Scene], str]:
    SCREENS[prepare.__name__.replace("_", "-")] = prepare
    return prepare


@screen
def one_connection_with_events(scene: Scene) -> str:
    scene.events(scene.connection(own_name="Harbour Property Management"))
    return f"/c/{scene.acme.code}/"


@screen
def connecting(scene: Scene) -> str:
    scene.connection("", "", state=State.CONNECTING, connected_at=None, proved_at=None)
    return f"/c/{scene.acme.code}/"


@screen
def one_connection_needs_a_person(scene: Scene) -> str:
    scene.events(scene.connection(state=State.NEEDS_RECONNECT, error_kind="token_refused"))
    return f"/c/{scene.acme.code}/"


@screen
def franchise(scene: Scene) -> str:
    scene.franchise()
    return f"/c/{scene.acme.code}/"


@screen
def connections(scene: Scene) -> str:
    scene.franchise()
    return f"/c/{scene.acme.code}/connections/"


@screen
def connection(scene: Scene) -> str:
    connection = scene.connection()
    scene.events(connection)
    for number in range(4):
        kind = "timeout" if number == 2 else ""
        took = timedelta(milliseconds=120 + 80 * number)
        ConnectionTest.objects.create(
            connection=connection, by=scene.bob, duration=took, error_kind=kind, name="Pat Harbour"
        )
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_in_trouble(scene: Scene) -> str:
    soon = timezone.now() + timedelta(minutes=6)
    connection = scene.connection(state=State.TROUBLE, error_kind="timeout", next_check_at=soon)
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_not_set_up(scene: Scene) -> str:
    connection = scene.connection(state=State.SETUP_PROBLEM, error_kind="exchange_refused")
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_disconnected(scene: Scene) -> str:
    connection = scene.connection(state=State.DISCONNECTED)
    audit.record("connection.disconnected", customer=scene.acme, actor=scene.bob, subject=connection.code)
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_settings(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/connections/{scene.connection().code}/settings/"


@screen
def connection_activity(scene: Scene) -> str:
    connection = scene.connection()
    for kind in ("connect.started", "connect.allowed", "connect.connected", "connection.tested"):
        audit.record(kind, customer=scene.acme, actor=scene.alice, subject=connection.code)
    return f"/c/{scene.acme.code}/connections/{connection.code}/activity/"


@screen
def link_for_a_colleague(scene: Scene) -> str:
    secret = links.issue(customer=scene.acme, by=scene.bob, connection=scene.connection())
    return f"/c/{scene.acme.code}/connect/links/{secret}/"


@screen
def events_of_every_state(scene: Scene) -> str:
    connection = scene.connection()
    scene.connection("7001", "Harbour Lets, the branch with the long name")
    for number, state in enumerate(Event.State):
        type_ = list(wording.EVENT_TYPES)[number % 4]
        soon = timezone.now() + timedelta(minutes=3)
        make_events(connection, 1, state=state, type=type_, attempts=2, next_attempt_at=soon, inspection_id=str(number))
    return f"/c/{scene.acme.code}/events/"


@screen
def events_filtered_to_nothing(scene: Scene) -> str:
    make_events(scene.connection(), 1)
    return f"/c/{scene.acme.code}/events/?state=failed&since=2026-11-20"


@screen
def events_with_a_senseless_filter(scene: Scene) -> str:
    make_events(scene.connection(), 1)
    return f"/c/{scene.acme.code}/events/?state=nothing&since=yesterday"


@screen
def no_events_before_the_webhook_address_is_known(scene: Scene) -> str:
    scene.connection(kind=Kind.PERSONAL)
    return f"/c/{scene.acme.code}/events/"


@screen
def event_that_is_retried(scene: Scene) -> str:
    soon = timezone.now() + timedelta(minutes=3)
    (event,) = make_events(
        scene.connection(),
        1,
        state=Event.State.RETRYING,
        attempts=2,
        next_attempt_at=soon,
        last_error_kind="handler_failed",
    )
    Attempt.objects.create(event=event, error_kind="server_error", status=503, duration=timedelta(seconds=1.2))
    Attempt.objects.create(event=event, error_kind="handler_failed", duration=timedelta(0), handler="crm.tell")
    for _ in range(2):
        body = b'{"sType": "Create_Inspection", "iInspectionID": 1388563, "iCompanyID": 6847}'
        delivery = Delivery.objects.create(body=body, state=Delivery.State.PLACED)
        EventDelivery.objects.create(event=event, delivery=delivery)
    return f"/c/{scene.acme.code}/events/{event.code}/"


@screen
def replay_of_many_asks_first(scene: Scene) -> str:
    make_events(scene.connection(), 143, state=Event.State.FAILED)
    return f"/c/{scene.acme.code}/events/replay/?state=failed&type=Create_Inspection"


@screen
def replay_of_many_runs(scene: Scene) -> str:
    running = Replay.objects.create(
        customer=scene.acme, by=scene.bob, matched=143, last_event=0, replayed=57, skipped=2
    )
    return f"/c/{scene.acme.code}/replays/{running.code}/"


@screen
def replay_of_many_is_over(scene: Scene) -> str:
    over = Replay.objects.create(
        customer=scene.acme,
        by=scene.bob,
        matched=143,
        last_event=0,
        replayed=141,
        skipped=2,
        finished_at=timezone.now(),
    )
    return f"/c/{scene.acme.code}/replays/{over.code}/"


@screen
def panels(scene: Scene) -> str:
    connection = scene.connection()
    jobs = Panel.objects.create(title="Latest inspections", path="inspections", columns="A: a\nB: b\nC: c\nD: d")
    broken = Panel.objects.create(title="Invoices", path="invoices", columns="Number: number")
    Panel.objects.update(is_active=True)
    cells = [
        Cell("text", "Entry inspection, 12 Harbour Street"),
        Cell("number", "17"),
        Cell("none", ""),
        Cell("yes", ""),
    ]
    rows = [[*cells, Cell("time", "2026-11-24T10:00:00Z"), Cell("json", '{"a":[1,2]}')]] * 3
    account = Table(["Name", "Company"], [[Cell("text", "Pat Harbour"), Cell("text", "6847")]], 1, [], "{}")
    scene.panel_answer(None, connection, table=account.stored())
    labels = ["Inspection", "Number", "Due", "Urgent", "Changed", "Reviews"]
    scene.panel_answer(jobs, connection, table=Table(labels, rows, 312, []).stored(), error_kind="timeout")
    scene.panel_answer(broken, connection, fetched_at=None, error_kind="not_found", status=404)
    User.objects.filter(pk=scene.alice.pk).update(is_staff=True)
    return f"/c/{scene.acme.code}/"


@screen
def panel_on_its_own_page(scene: Scene) -> str:
    connection = scene.connection()
    account = Table(["Name", "Company"], [[Cell("text", "Pat Harbour"), Cell("text", "6847")]], 1, [], "{}")
    scene.panel_answer(None, connection, table=account.stored())
    return f"/c/{scene.acme.code}/connections/{connection.code}/panels/account/"


@screen
def explorer(scene: Scene) -> str:
    connection = scene.connection()
    told = {"customer": scene.acme, "connection": connection, "by": scene.alice}
    ExplorerCall.objects.create(**told, path="nothing/here", status=404, duration=timedelta(seconds=0.02), size=26)
    ExplorerCall.objects.create(**told, path="user", error_kind="timeout")
    call = ExplorerCall.objects.create(**told, path="inspections?sort=newest", status=200, size=1388)
    ExplorerAnswer.objects.create(
        call=call, by=scene.alice, text='{\n  "inspections": [\n    {}\n  ]\n}', is_json=True, is_cut=True
    )
    return f"/c/{scene.acme.code}/explorer/"


@screen
def snapinspect_user_linked(scene: Scene) -> str:
    LinkedUser.objects.create(user=scene.alice, vendor_user_id="501", name="Pat Harbour")
    return "/accounts/snapinspect/"


def invitation(scene: Scene, email: str, *, days: int = 7, token: str = TOKEN) -> None:
    Invitation.objects.create(
        customer=scene.acme,
        email=email,
        role=Role.MEMBER,
        invited_by=scene.alice,
        expires_at=timezone.now() + timedelta(days=days),
        token_hash=hashlib.sha256(token.encode()).hexdigest(),
    )


@screen
def people(scene: Scene) -> str:
    Authenticator.objects.create(user=scene.bob, type=Authenticator.Type.TOTP, data={})
    invitation(scene, "dora@example.com")
    invitation(scene, "a-very-long-address-of-somebody-who-never-answered@lettings.example", days=-1, token="other")
    return f"/c/{scene.acme.code}/people/"


@screen
def remove_somebody(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/people/{scene.acme.memberships.get(user=scene.bob).pk}/remove/"


@screen
def invitation_of_somebody_else(scene: Scene) -> str:
    invitation(scene, "dora@example.com")
    return f"/accounts/invitations/{TOKEN}/"


@screen
def invitation_of_ones_own(scene: Scene) -> str:
    invitation(scene, scene.alice.email)
    return f"/accounts/invitations/{TOKEN}/"


@screen
def audit_log(scene: Scene) -> str:
    connection = scene.connection()
    for kind, actor in (
        ("connect.connected", scene.bob),
        ("connection.trouble", None),
        ("member.invited", scene.alice),
    ):
        audit.record(kind, customer=scene.acme, actor=actor, subject=connection.code, person="dora@example.com")
    return f"/c/{scene.acme.code}/audit/"


@screen
def audit_log_that_finds_nothing(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/audit/?since=yesterday&person=nobody@example.com"


@screen
def thirty_companies(scene: Scene) -> str:
    for number in range(30):
        Customer.objects.create_with_owner(f"Company {number} of a Person with Many Companies", owner=scene.alice)
    return f"/c/{scene.acme.code}/people/"


@screen
def recovery_codes(scene: Scene) -> str:
    TOTP.activate(scene.alice, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(scene.alice)
    return "/accounts/2fa/recovery-codes/"


@screen
def security_with_second_factor(scene: Scene) -> str:
    TOTP.activate(scene.alice, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(scene.alice)
    return "/accounts/2fa/"


@screen
def stop_mails(scene: Scene) -> str:
    return mail_preferences.unsubscribe_path(mail_preferences.TROUBLE, scene.acme.memberships.get(user=scene.alice).pk)


def as_staff(scene: Scene) -> Connection:
    """Makes Alice one of the operator's staff, with something of everything to look at; returns a broken connection."""
    User.objects.filter(pk=scene.alice.pk).update(is_staff=True, is_superuser=True)
    broken = scene.connection(
        state=State.NEEDS_RECONNECT, error_kind="reconnect_required", incident_since=timezone.now() - timedelta(hours=2)
    )
    scene.connection("7001", "Harbour Lets, the branch with the long name")
    make_events(broken, 2)
    (failed,) = make_events(
        broken, 1, state=Event.State.FAILED, last_error_kind="handler_failed", inspection_id="1388561"
    )
    body = b'{"sType": "Create_Inspection", "iInspectionID": 1388561, "iCompanyID": 6847}'
    delivery = Delivery.objects.create(body=body, state=Delivery.State.PLACED)
    EventDelivery.objects.create(event=failed, delivery=delivery)
    for kind in ("connect.started", "connect.connected", "connection.reconnect_required"):
        audit.record(kind, customer=scene.acme, actor=scene.alice, subject=broken.code)
    invitation(scene, "dora@example.com")
    Worker.objects.note_sweep("web-1, process 4711")
    return broken


@screen
def operations(scene: Scene) -> str:
    as_staff(scene)
    return "/staff/operations/"


# Lists and pages of the admin that show no row in particular.
STAFF = {
    "admin-index": "/admin/",
    "admin-customers": "/admin/accounts/customer/",
    "admin-people": "/admin/accounts/user/",
    "admin-invitations": "/admin/accounts/invitation/",
    "admin-connections": "/admin/integrations/connection/",
    "admin-connections-that-are-broken": "/admin/integrations/connection/?state__exact=needs_reconnect&q=Harbour",
    "admin-events": "/admin/integrations/event/",
    "admin-deliveries": "/admin/integrations/delivery/",
    "admin-audit-trail": "/admin/accounts/auditentry/",
    "admin-new-panel": "/admin/integrations/panel/add/",
}


def _of_staff(address: str) -> Callable[[Scene], str]:
    def prepare(scene: Scene) -> str:
        as_staff(scene)
        return address

    return prepare


SCREENS |= {name: _of_staff(address) for name, address in STAFF.items()}


@screen
def admin_connection(scene: Scene) -> str:
    return f"/admin/integrations/connection/{as_staff(scene).pk}/change/"


@screen
def admin_customer(scene: Scene) -> str:
    as_staff(scene)
    return f"/admin/accounts/customer/{scene.acme.pk}/change/"


@screen
def admin_person(scene: Scene) -> str:
    as_staff(scene)
    return f"/admin/accounts/user/{scene.bob.pk}/change/"


@screen
def admin_event(scene: Scene) -> str:
    event = as_staff(scene).events.get(state=Event.State.FAILED)
    return f"/admin/integrations/event/{event.pk}/change/"


@screen
def admin_delivery(scene: Scene) -> str:
    as_staff(scene)
    return f"/admin/integrations/delivery/{Delivery.objects.get().pk}/change/"


@screen
def admin_panel_tried(scene: Scene) -> str:
    as_staff(scene)
    panel = Panel.objects.create(title="Latest inspections", path="inspections", columns="A: a")
    return f"/admin/integrations/panel/{panel.pk}/try/"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    # Playwright's loop runs in this thread, and Django takes any loop for an asynchronous program.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(color_scheme="light", viewport={"width": 1100, "height": 800})
    yield context
    context.close()


@pytest.fixture
def context(profile: BrowserContext) -> Iterator[BrowserContext]:
    """A browser that is signed in nowhere; from earlier tests it has static files, and nothing else."""
    yield profile
    for page in profile.pages:
        page.close()
    profile.clear_cookies()


@pytest.fixture
def scene(acme: Customer, alice: User, bob: User, victor: User) -> Scene:
    return Scene(acme, alice, bob, victor)


# `make test` looks at these, `make test-slow` at all others.
FEW = {"first-run", "one-connection-with-events", "events-of-every-state", "welcome"}


def slow_but_few(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.slow] if name not in FEW else []) for name in names]


@pytest.mark.parametrize("name", slow_but_few([*PLAIN, *SCREENS]))
def test_C11_a_screen_is_clean_in_light_and_dark_and_on_a_small_phone(
    name: str, scene: Scene, context: BrowserContext, live_server: LiveServer, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    address = PLAIN[name].format(code=scene.acme.code) if name in PLAIN else SCREENS[name](scene)
    at = f"http://localhost:{urlsplit(live_server.url).port}"
    sign_in(context, scene.alice, at)
    look_at(context.new_page(), name, at + address)


@pytest.mark.parametrize("name", slow_but_few(SIGNED_OUT))
def test_C11_so_is_a_screen_that_strangers_see(
    name: str, scene: Scene, context: BrowserContext, live_server: LiveServer, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    invitation(scene, "dora@example.com")
    at = f"http://localhost:{urlsplit(live_server.url).port}"
    look_at(context.new_page(), name, at + SIGNED_OUT[name].format(token=TOKEN))


def look_at(page: Page, name: str, address: str) -> None:
    complaints = listen(page)
    page.emulate_media(reduced_motion="reduce")  # colours change at once: none is looked at halfway
    page.goto(address, wait_until="networkidle")
    assert page.url == address, "this is another page than the one to be looked at"
    axe = Axe()
    photograph(page, f"{name}-light", axe, RULES)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.wait_for_selector("html:not([data-bs-theme=light])")
    photograph(page, f"{name}-dark", axe, RULES | OF_COLOUR)
    assert complaints == []


def sign_in(context: BrowserContext, user: User, at: str) -> None:
    client = Client()
    client.force_login(user)
    # As if they had just entered their password once more; allauth counts those who do.
    session = client.session
    session[login.AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "password", "at": time.time(), "reauthenticated": True}
    ]
    session[login._AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    session.save()
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": at}])


def listen(page: Page) -> list[str]:
    """What is written to the page's console from now on, but for Chromium's own word that the page itself is a 404."""
    complaints: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error" and said.location["url"] != page.url:
            complaints.append(said.text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", note)
    return complaints


# Without the stylesheets that axe itself would put into the page, which the policy refuses; no rule needs them.
RULES: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}
# All that axe can find in a page's dark colours and has not found in the same page in its light ones.
OF_COLOUR = {"runOnly": ["color-contrast", "link-in-text-block"]}


def photograph(page: Page, name: str, axe: Axe, rules: dict[str, Any]) -> None:
    """A full picture at this width and one at 320 px, both looked at by axe."""
    for width in (1100, 320):
        page.set_viewport_size({"width": width, "height": 800})
        small = "-320" if width == 320 else ""
        page.screenshot(path=PICTURES / f"screen-{name}{small}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways"
        found = axe.run(page, options=rules).response["violations"]
        axe.axe_script = "0"  # it stays in the page
        serious = [item for item in found if item["impact"] in {"serious", "critical"}]
        told = [(item["id"], re.sub(r"\s+", " ", item["nodes"][0]["html"])[:200]) for item in serious]
        assert told == [], f"{name} at {width} px"
