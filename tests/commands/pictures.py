"""`make pictures`: the pictures of the README, taken from the real processes by a real Chromium into docs/pictures/.

Somebody signs up, connects and receives inspections of the stand-in, all of it through pages. Only the past is made up:
nobody waits a month for a chart, so the events of the day are copied over the thirty days before.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import django
from playwright.sync_api import Browser, Page, sync_playwright

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from tests.browser.test_hosted_connect import Product  # noqa: E402
from tests.browser.test_main_path import CHROMIUM, QUIET  # noqa: E402
from tests.support.clients import COMPANY_OF_PAT  # noqa: E402
from tests.support.postgres import free_port  # noqa: E402
from tests.support.running_app import ROOT, RunningApp  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, NARROW, TALLEST = 1100, 760, 1400  # pixels
TITLES = (
    "Entry inspection, 12 Harbour Street",
    "Routine inspection, 3 Quay Lane",
    "Exit inspection, 7 Lantern Square",
    "Fire safety, 40 Mill Road, stairwell",
    "Routine inspection, 15 Bridge Street",
)
# Run by `manage.py shell` in the app: what no page can do is to have happened earlier.
THE_PAST = """
from datetime import timedelta
from django.utils import timezone
from accounts.models import Customer, Membership, User
from integrations.models import Connection, Event, PanelAnswer

customer = Customer.objects.get(name="Harbour Property Management")
for name, role in (("bo", "member"), ("sam", "viewer")):
    user = User.objects.create_user(f"{name}@harbour.example", None)
    Membership.objects.create(customer=customer, user=user, role=role)
connection = Connection.objects.get(customer=customer)
now = timezone.now()
Connection.objects.filter(pk=connection.pk).update(connected_at=now - timedelta(days=29, hours=3))
model, rows = list(connection.events.order_by("pk")), []
for day in range(1, 30):
    at = now - timedelta(days=day)
    weekend = at.weekday() > 4
    for number in range(2 + day % 2 if weekend else 6 + day * 7 % 11 + (30 - day) // 7):
        like = model[(day * 5 + number) % len(model)]
        failed = day in (6, 13, 14) and number % 5 == 4
        rows.append(Event(
            connection=connection, state="failed" if failed else "done", type=like.type, company_id=like.company_id,
            inspection_id=like.inspection_id, review_id=like.review_id, content=like.content, proof=like.proof,
            content_sha256=like.content_sha256, fetched_at=at, attempts=8 if failed else 1,
            last_error_kind="handler_failed" if failed else "", finished_at=at,
            received_at=at - timedelta(minutes=37 * number + day),
        ))
Event.objects.bulk_create(rows)
for number, event in enumerate(reversed(model[:-1])):
    Event.objects.filter(pk=event.pk).update(received_at=now - timedelta(minutes=4 + 11 * number))
waiting, failed = model[-3], model[-5]
soon = now + timedelta(minutes=9)
Event.objects.filter(pk=waiting.pk).update(state="retrying", attempts=2, next_attempt_at=soon, finished_at=None)
Event.objects.filter(pk=failed.pk).update(state="failed", attempts=8)
Event.objects.filter(pk__in=[waiting.pk, failed.pk]).update(last_error_kind="handler_failed")
PanelAnswer.objects.all().delete()
"""


class Shot(NamedTuple):
    """A picture of the page at this path; `press` is the button that makes it worth looking at."""

    name: str
    path: str
    scheme: Literal["light", "dark"]
    tallest: int = TALLEST
    staff: bool = False


SHOTS = (
    Shot("dashboard", "", "light"),
    Shot("events", "events/", "dark", 760),
    Shot("event", "{event}", "light", 1100),
    Shot("connection", "{connection}", "light", 1000),
    Shot("explorer", "explorer/", "dark", 900),
    Shot("operations", "/staff/operations/", "light", 900, staff=True),
)


def main() -> None:
    if CHROMIUM is None:
        sys.exit("Chromium is missing (apt-get install chromium).")
    PICTURES.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningApp(Path(folder), LOG_LEVEL="INFO", CONNECT_RETURN_ORIGINS=f"http://127.0.0.1:{port}") as app,
        sync_playwright() as playwright,
    ):
        password = app.prepare().manage("demo").split()[-1]
        app.start_all()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        take_product(browser, Product(app, port))
        take_all(browser, app, staff_password=password)
        browser.close()


def take_product(browser: Browser, product: Product) -> None:
    """The hosted Connect page, and the sample product after the connect and an upload."""
    page = open_page(browser, product.app)
    page.set_viewport_size({"width": NARROW, "height": 560})
    take(page, Shot("hosted", "", "light", 560), product.begin(page))
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("table").wait_for()
    upload: dict[str, str | float | bool] = {"action": "upload", "company": COMPANY_OF_PAT, "title": TITLES[2]}
    page.request.post(f"{product.app.sandbox.url}sandbox/inspections", form=upload)

    def was_told() -> bool:
        page.goto(product.url)
        return page.get_by_text("inspection.created").count() == 1

    wait_until(was_told)
    take(page, Shot("product", "", "light", 560), product.url)


def take_all(browser: Browser, app: RunningApp, *, staff_password: str) -> None:
    owner = open_page(browser, app)
    owner.get_by_role("link", name="Sign up").click()
    owner.get_by_label("Company name").fill("Harbour Property Management")
    owner.get_by_label("Email").fill("dana@harbour.example")
    owner.get_by_label("Password").fill("correct horse battery")
    owner.get_by_role("button", name="Sign up").click()
    owner.get_by_role("button", name="Connect with SnapInspect").click()
    owner.get_by_role("button", name="Allow").click()
    owner.locator("[data-badge]", has_text="Connected").wait_for()
    dashboard = owner.url
    receive_inspections(owner, app, dashboard)
    app.manage("shell", "--verbosity", "0", "-c", THE_PAST)

    owner.goto(dashboard)
    owner.get_by_role("button", name="Test connection").click()
    owner.goto(f"{dashboard}explorer/")
    owner.get_by_label("Path").fill("inspections?sort=newest")
    owner.get_by_role("button", name="Send", exact=True).click()
    owner.goto(f"{dashboard}events/")
    event = owner.get_by_role("link", name="Inspection uploaded").first.get_attribute("href") or ""
    owner.goto(dashboard)
    connection = owner.get_by_role("link", name="Details").get_attribute("href") or ""

    staff = open_page(browser, app)
    staff.get_by_role("link", name="Sign in", exact=True).click()
    staff.get_by_label("Email").fill("staff@example.com")
    staff.get_by_label("Password").fill(staff_password)
    staff.get_by_role("button", name="Sign in", exact=True).click()
    for shot in SHOTS:
        page = staff if shot.staff else owner
        path = shot.path.format(event=event, connection=connection)
        take(page, shot, f"{app.url.rstrip('/')}{path}" if path.startswith("/") else dashboard + path)


def open_page(browser: Browser, app: RunningApp) -> Page:
    context = browser.new_context(viewport={"width": WIDTH, "height": 800}, timezone_id="Europe/London", locale="en-GB")
    page = context.new_page()
    page.goto(app.url)
    return page


def receive_inspections(owner: Page, app: RunningApp, dashboard: str) -> None:
    """Inspections are uploaded, changed and reviewed at the stand-in's own page; returns when all have arrived."""
    standin = f"{app.sandbox.url}sandbox/inspections"
    ask = owner.context.request
    for title in TITLES:
        ask.post(standin, form={"action": "upload", "company": COMPANY_OF_PAT, "title": title})
    known = app.sandbox.control("GET", "events")["events"]
    newest = [each["payload"]["iInspectionID"] for each in known]
    for number in newest[:4]:
        ask.post(standin, form={"action": "status", "inspection": str(number), "status": "Completed"})
    ask.post(standin, form={"action": "review", "inspection": str(newest[1])})
    ask.post(
        standin, form={"action": "upload", "company": COMPANY_OF_PAT, "title": "Routine inspection, 9 Ferry Steps"}
    )

    def all_done() -> bool:
        owner.goto(f"{dashboard}events/")
        return owner.locator("[data-badge]", has_text="Done").count() == len(TITLES) + 6

    wait_until(all_done)


def take(page: Page, shot: Shot, address: str) -> None:
    page.emulate_media(color_scheme=shot.scheme)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    height = page.evaluate("document.documentElement.scrollHeight")
    width = page.viewport_size["width"] if page.viewport_size else WIDTH
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, shot.tallest)}
    path = PICTURES / f"{shot.name}.png"
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
