"""The pages about webhook endpoints, for owners below their customer and for staff across customers."""

import html
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Customer, User
from integrations.models import OutgoingDelivery, OutgoingMessage, Resend, WebhookEndpoint
from integrations.outgoing import delivery_actions, endpoints, resends
from tests.settings import SENTINEL
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]
State = OutgoingDelivery.State

ASKED = {"url": "https://hooks.example/in", "types": ["*", "review.signed"], "description": "Back office"}


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "correct horse battery")


def made(customer: Customer | None, **values: object) -> WebhookEndpoint:
    defaults: dict[str, object] = {"url": "https://hooks.example/in", "types": ["*"], "customer": customer, "by": None}
    return endpoints.create(**{**defaults, **values})[0]  # type: ignore[arg-type]


def words(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def secret_on(page: str) -> str:
    (secret,) = re.findall(r">(whsec_[^<]+)</pre>", page)
    return html.unescape(str(secret))


def test_an_endpoint_is_added_and_its_secret_is_shown_once(visit: Visit, alice: User, acme: Customer) -> None:
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/"
    page = browser.post(address, ASKED | {"headers": f"X-Access: {SENTINEL}-value\r\nX-Other: b"}).text
    endpoint = WebhookEndpoint.objects.get()
    secret = secret_on(page)
    assert endpoints.signing_secrets(endpoint) == [secret] and endpoint.types == ["*"]
    assert endpoints.custom_headers(endpoint) == {"X-Access": f"{SENTINEL}-value", "X-Other": "b"}
    for shown in (browser.get(address).text, browser.get(f"{address}{endpoint.code}/").text):
        assert "whsec_" not in shown and f"{SENTINEL}-value" not in shown
        assert "Back office" in shown
    assert "X-Access, X-Other" in browser.get(f"{address}{endpoint.code}/").text

    page = browser.post(f"{address}{endpoint.code}/secret/").text
    endpoint.refresh_from_db()
    assert endpoints.signing_secrets(endpoint) == [secret_on(page), secret]
    assert "The previous one stops working" in page


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("url", "http://hooks.example/", "must begin with https://"),
        ("url", "https://hooks.example:22/", "The port must be 443"),
        ("types", [], "This field is required."),
        ("headers", "X-Access", "a colon"),
        ("headers", "Host: internal", "is set by this app"),
        ("headers", "X-A: a\nX-A: b", "named twice"),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(
    field: str, value: str, sentence: str, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    page = browser.post(f"/c/{acme.code}/webhooks/", ASKED | {field: value}).text
    assert sentence in html.unescape(page) and "Your new endpoint" not in page
    endpoint = made(acme)
    page = browser.post(f"/c/{acme.code}/webhooks/{endpoint.code}/settings/", ASKED | {field: value}).text
    assert sentence in html.unescape(page)


def test_headers_stay_when_their_field_is_left_empty(visit: Visit, alice: User, acme: Customer) -> None:
    endpoint = made(acme, headers={"X-A": f"{SENTINEL}-value"})
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/{endpoint.code}/settings/"
    page = browser.get(address).text
    assert "Leave it empty to keep: X-A" in page and f"{SENTINEL}-value" not in page
    browser.post(address, ASKED)
    endpoint.refresh_from_db()
    assert (endpoint.description, list(endpoints.custom_headers(endpoint))) == ("Back office", ["X-A"])
    browser.post(address, ASKED | {"remove_headers": "on"})
    endpoint.refresh_from_db()
    assert endpoints.custom_headers(endpoint) == {}


def test_an_endpoint_is_paused_turned_on_and_deleted(visit: Visit, alice: User, acme: Customer) -> None:
    endpoint = made(acme)
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/{endpoint.code}/"
    assert "Turn on" not in browser.get(address).text
    assert "Messages wait until you turn it on." in browser.post(f"{address}pause/", follow=True).text
    assert "Pause" in browser.post(f"{address}on/", follow=True).text
    WebhookEndpoint.objects.update(state="off", off_reason="failing", failing_since=timezone.now())
    assert "Every delivery has failed for three days" in words(browser.get(address).text)
    assert "Delete https://hooks.example/in?" in browser.get(f"{address}delete/").text
    browser.post(f"{address}delete/")
    assert not WebhookEndpoint.objects.exists()


def test_a_test_leads_to_its_delivery_with_request_tries_and_responses(
    visit: Visit, alice: User, acme: Customer
) -> None:
    endpoint = made(acme, headers={"X-Access": f"{SENTINEL}-value"})
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/{endpoint.code}/"
    page = browser.post(f"{address}test/", follow=True).text
    sent = OutgoingDelivery.objects.get()
    assert sent.message.webhook_id in page and "X-Access: hidden" in page and f"{SENTINEL}-value" not in page
    assert "0 of 10 tries. Next try" in words(page) and "endpoint.test" in page and "Resend" not in page
    sent.timeline.create(error_kind="timeout", duration=timedelta(seconds=15))
    sent.timeline.create(
        status=500, duration=timedelta(seconds=0.25), answer="<b>Oops</b>", answer_headers={"X-Their": "own"}
    )
    OutgoingDelivery.objects.update(state=State.FAILED, tries=10)
    page = browser.get(f"{address}deliveries/{sent.code}/").text
    for shown in ("The server did not answer within 15 seconds.", "HTTP 500", "X-Their: own", "<b>Oops</b>", "250 ms"):
        assert shown in words(page).replace(" < ", "<") or html.escape(shown) in page, shown
    assert "We have given up." in page
    listed = words(browser.get(address).text)
    assert "10 of 10" in listed and "500, 250 ms" in listed
    assert browser.get(address, {"state": "delivered"}).text.count(sent.message.webhook_id) == 0

    page = browser.post(f"{address}deliveries/{sent.code}/resend/", follow=True).text
    assert "0 of 10 tries. Next try" in words(page)
    OutgoingDelivery.objects.update(state=State.HELD)
    WebhookEndpoint.objects.update(state="off", off_reason="gone")
    page = browser.get(f"{address}deliveries/{sent.code}/").text
    assert "Turn it on, then resend this message." in page and "arrow-counterclockwise" not in page


def test_the_pages_update_themselves_and_say_nothing_while_nothing_changes(
    visit: Visit, alice: User, acme: Customer
) -> None:
    endpoint = made(acme)
    sent = delivery_actions.send_test(endpoint, by=alice)
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/{endpoint.code}/"
    for page in (address, f"{address}deliveries/{sent.code}/"):
        (asked,) = re.findall(r'hx-get="([^"]+seen=[^"]+)"', browser.get(page).text)
        asked = html.unescape(asked)
        assert browser.get(asked, headers={"HX-Request": "true"}).status_code == 204
        OutgoingDelivery.objects.update(tries=OutgoingDelivery.objects.get().tries + 1)
        part = browser.get(asked, headers={"HX-Request": "true"})
        assert part.status_code == 200 and "<html" not in part.text


def test_many_deliveries_are_shown_in_pages_and_cost_a_fixed_number_of_queries(
    visit: Visit, alice: User, acme: Customer
) -> None:
    endpoint = made(acme)
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/{endpoint.code}/"
    delivery_actions.send_test(endpoint, by=alice)
    browser.get(address)
    with CaptureQueriesContext(database) as few:
        browser.get(address)
    for _ in range(59):
        delivery_actions.send_test(endpoint, by=alice)
    with CaptureQueriesContext(database) as many:
        page = browser.get(address).text
    assert len(many) == len(few)
    (older,) = re.findall(r'href="([^"]+before=\d+)"', page)
    ids = [set(re.findall(r"msg_[a-z0-9]+", one)) for one in (page, browser.get(html.unescape(older)).text)]
    assert [len(one) for one in ids] == [50, 10] and not ids[0] & ids[1]
    assert browser.get(address, {"before": "x", "state": "odd"}).status_code == 200


def test_many_are_resent_after_their_number_is_shown(visit: Visit, alice: User, acme: Customer) -> None:
    endpoint = made(acme)
    for _ in range(3):
        delivery_actions.send_test(endpoint, by=alice)
    first, second, third = OutgoingDelivery.objects.order_by("pk")
    OutgoingDelivery.objects.filter(pk=first.pk).update(state=State.FAILED, tries=10)
    OutgoingDelivery.objects.filter(pk=second.pk).update(state=State.DELIVERED)
    OutgoingMessage.objects.filter(pk=third.message_id).update(created_at=timezone.now() - timedelta(days=9))
    OutgoingDelivery.objects.filter(pk=third.pk).update(state=State.FAILED)
    browser, address = visit(alice), f"/c/{acme.code}/webhooks/{endpoint.code}/resend/"
    day = timezone.now() - timedelta(days=1)
    asked = {"since_0": day.strftime("%Y-%m-%d"), "since_1": day.strftime("%H:%M")}
    assert "Count" in browser.get(address).text
    assert "Enter a day." in browser.get(address, {"since_0": "x", "since_1": "10:00"}).text
    assert "2 messages since" in words(browser.get(address, asked | {"with_delivered": "on"}).text)
    assert "1 message since" in words(browser.get(address, asked).text)

    page = browser.post(f"{address}?since_0={asked['since_0']}&since_1={asked['since_1']}", follow=True).text
    running = Resend.objects.get()
    assert "0 of 1" in words(page) and "Cancel" in page
    assert browser.get(address)["Location"].endswith(f"/resends/{running.code}/")
    assert resends.step(running.pk) and not resends.step(running.pk)
    assert "1 message queued to be sent again." in words(browser.get(f"{address[:-7]}resends/{running.code}/").text)
    first.refresh_from_db()
    assert (first.state, first.tries) == (State.WAITING, 0)
    assert [one.state for one in OutgoingDelivery.objects.order_by("pk")[1:]] == [State.DELIVERED, State.FAILED]


def test_a_resend_is_cancelled_and_waits_while_the_endpoint_is_off(visit: Visit, alice: User, acme: Customer) -> None:
    endpoint = made(acme)
    delivery_actions.send_test(endpoint, by=alice)
    OutgoingDelivery.objects.update(state=State.FAILED)
    since = timezone.now() - timedelta(days=1)
    started = resends.start(endpoint, since=since, with_delivered=False, by=alice)
    assert started is not None and resends.start(endpoint, since=since, with_delivered=False, by=alice) is None
    address = f"/c/{acme.code}/webhooks/{endpoint.code}/"
    browser = visit(alice)
    page = browser.post(f"{address}resends/{started.code}/cancel/", follow=True).text
    assert "Cancelled by alice@example.com. 0 messages queued" in words(page).replace(" .", ".")
    assert not resends.step(started.pk)
    WebhookEndpoint.objects.update(state="off", off_reason="gone")
    endpoint.refresh_from_db()
    assert resends.start(endpoint, since=since, with_delivered=False, by=alice) is None
    query = f"?since_0={since:%Y-%m-%d}&since_1={since:%H:%M}"
    assert "Turn it on first." in browser.post(f"{address}resend/{query}").text
    assert OutgoingDelivery.objects.get().state == State.FAILED


def test_staff_manage_those_of_all_customers(visit: Visit, staff: User, acme: Customer) -> None:
    theirs = made(acme, description="Acme’s own")
    browser = visit(staff)
    assert "Your new endpoint" in browser.post("/staff/webhooks/", ASKED).text
    ours = WebhookEndpoint.objects.get(customer=None)
    page = browser.get("/staff/webhooks/").text
    assert "Acme’s own" in page and "Acme" in page and "Back office" in page
    for endpoint in (theirs, ours):
        address = f"/staff/webhooks/{endpoint.code}/"
        assert browser.get(address).status_code == 200
        assert "endpoint.test" in browser.post(f"{address}test/", follow=True).text
        assert "Turn on" in browser.post(f"{address}pause/", follow=True).text
        for page in ("settings/", "delete/", "resend/"):
            assert browser.get(address + page).status_code == 200
        assert secret_on(browser.post(f"{address}secret/").text)
        browser.post(f"{address}delete/")
    assert not WebhookEndpoint.objects.exists()
