"""Deliveries are sent, tried again and given up by the schedule; one endpoint's trouble is no other's."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook

from accounts.models import AuditEntry, Customer, User
from integrations.background import jobs
from integrations.models import DeliveryTry, OutgoingDelivery, OutgoingMessage, WebhookEndpoint
from integrations.operations import retention
from integrations.outgoing import delivery_actions, dispatcher, endpoints, schedule
from integrations.tokens.encryption import parse_keys
from tests.outgoing.conftest import Made
from tests.snapinspect.remotes import Answering, Call, Remote, Wire, http

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[[Answering | bytes], Remote]


@pytest.fixture(autouse=True)
def loopback(settings: Settings) -> None:
    settings.ALLOW_INSECURE_LOOPBACK = True


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(answer: Answering | bytes) -> Remote:
            remote = Remote(answer)
            stack.callback(remote.close)
            return remote

        yield start


def send() -> None:
    """Sends what is due now."""
    jobs.work_off(jobs.OUTGOING)


def later(by: timedelta) -> None:
    """Sends what is due after that time."""
    for name in ("wait_until", "failing_since", "due_at", "lease_until"):
        rows = WebhookEndpoint.objects.filter(**{f"{name}__isnull": False})
        rows.update(**{name: F(name) - by})
    OutgoingDelivery.objects.update(next_try_at=F("next_try_at") - by)
    send()


def queue(endpoint: WebhookEndpoint, count: int = 1) -> list[OutgoingDelivery]:
    return [delivery_actions.send_test(endpoint, by=None) for _ in range(count)]


def states() -> list[str]:
    return list(OutgoingDelivery.objects.order_by("pk").values_list("state", flat=True))


def test_a_delivery_arrives_signed_and_is_on_record(make: Made, serve: Serve) -> None:
    remote = serve(http(b"Seen\0.", status=202, headers={"X-Number": "7", "Set-Cookie": "a=b"}))
    endpoint, secret = make(url=remote.url, headers={"X-Access": "sesame"})
    (delivery,) = queue(endpoint)

    send()

    (call,) = remote.calls
    body: Any = Webhook(secret).verify(call.body, dict(call.headers))
    assert body == json.loads(delivery.message.body)
    assert (call.headers["webhook-id"], call.headers["x-access"]) == (delivery.message.webhook_id, "sesame")
    assert call.headers["content-type"] == "application/json"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("delivered", 1)
    assert delivery.delivered_at is not None
    attempt = DeliveryTry.objects.get()
    assert (attempt.status, attempt.error_kind, attempt.answer) == (202, "", "Seen\ufffd.")
    assert attempt.answer_headers == {"X-Number": "7"}
    endpoint.refresh_from_db()
    assert (endpoint.lease_owner, endpoint.lease_until, endpoint.due_at) == ("", None, None)
    assert endpoint.delivered_at is not None


def test_what_comes_while_others_are_sent_is_sent_too_and_each_once(make: Made, serve: Serve) -> None:
    remote = serve(http(b""))
    endpoint, _ = make(url=remote.url)
    queue(endpoint, 2 * dispatcher.BATCH + 7)

    send()

    ids = [call.headers["webhook-id"] for call in remote.calls]
    assert len(ids) == len(set(ids)) == 2 * dispatcher.BATCH + 7
    assert set(states()) == {"delivered"}
    assert remote.connections <= dispatcher.MOST_AT_ONCE


def test_a_failed_delivery_is_tried_by_the_schedule_and_then_given_up(
    make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WebhookEndpoint, "OFF_AFTER", timedelta(days=30))
    remote = serve(http(b"No.", status=500))
    endpoint, _ = make(url=remote.url)
    (delivery,) = queue(endpoint)
    send()

    for number, wait in enumerate(schedule.WAITS[1:], start=1):
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries, len(remote.calls)) == ("waiting", number, number)
        assert wait * 0.9 <= delivery.next_try_at - timezone.now() <= wait * (1 + schedule.JITTER)
        later(wait * 0.9 - timedelta(seconds=2))
        assert len(remote.calls) == number, "not before"
        later(wait * (0.1 + schedule.JITTER) + timedelta(seconds=2))

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("failed", schedule.MOST_TRIES)
    assert len({call.headers["webhook-id"] for call in remote.calls}) == 1
    assert DeliveryTry.objects.filter(delivery=delivery, status=500).count() == schedule.MOST_TRIES


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 503])
def test_whatever_is_not_2xx_is_a_failure_and_no_redirect_is_followed(make: Made, serve: Serve, status: int) -> None:
    elsewhere = serve(http(b""))
    remote = serve(http(b"", status=status, headers={"Location": elsewhere.url}))
    queue(make(url=remote.url)[0])

    send()

    assert states() == ["waiting"]
    assert (len(remote.calls), len(elsewhere.calls)) == (1, 0)


def test_one_failing_message_does_not_keep_the_others(make: Made, serve: Serve) -> None:
    seen: list[str] = []

    def answer(call: Call, wire: Wire) -> bytes:
        seen.append(call.headers["webhook-id"])
        return http(b"", status=500 if len(seen) == 1 else 200)

    endpoint, _ = make(url=serve(answer).url)
    queue(endpoint, 5)

    send()

    assert sorted(states()) == ["delivered"] * 4 + ["waiting"]
    endpoint.refresh_from_db()
    assert endpoint.failing_since is None


@pytest.mark.parametrize(
    ("value", "seconds"), [("3600", 3600), ("864000", 86400), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", 0)]
)
def test_retry_after_holds_for_the_whole_endpoint_up_to_a_day(
    make: Made, serve: Serve, value: str, seconds: int
) -> None:
    endpoint, _ = make(url=serve(http(b"", status=429, headers={"Retry-After": value})).url)
    queue(endpoint)
    send()

    endpoint.refresh_from_db()
    delivery = OutgoingDelivery.objects.get()
    waits = (delivery.next_try_at - timezone.now()).total_seconds()
    assert max(seconds, 5) - 1 <= waits <= max(seconds, 6)
    queue(endpoint)
    send()
    assert DeliveryTry.objects.count() == (1 if seconds else 2)


def test_an_endpoint_without_an_answer_gets_one_request_at_a_time_with_growing_pauses(make: Made, serve: Serve) -> None:
    def hang_up(call: Call, wire: Wire) -> None:
        return None

    remote = serve(hang_up)
    endpoint, _ = make(url=remote.url)
    queue(endpoint, 20)
    send()
    first = len(remote.calls)
    assert first <= dispatcher.MOST_AT_ONCE

    pauses = []
    for _ in range(8):
        endpoint.refresh_from_db()
        assert endpoint.wait_until is not None
        pauses.append((endpoint.wait_until - timezone.now()).total_seconds())
        queue(endpoint)
        send()
        later(endpoint.wait_until - timezone.now() + timedelta(seconds=1))

    assert len(remote.calls) == first + 8
    assert pauses[0] <= 5
    assert pauses[-1] > 200
    assert max(pauses) <= 300
    assert set(DeliveryTry.objects.values_list("error_kind", flat=True)) == {"cut"}
    untried = OutgoingDelivery.objects.filter(tries=0).count()
    assert untried >= 28 - first - 8, "pauses of the endpoint cost no tries"


def test_when_it_answers_again_everything_arrives(make: Made, serve: Serve) -> None:
    is_up: list[bool] = []

    def answer(call: Call, wire: Wire) -> bytes | None:
        return http(b"") if is_up else None

    endpoint, _ = make(url=serve(answer).url)
    queue(endpoint, 30)
    send()
    is_up.append(True)

    later(timedelta(minutes=6))

    assert set(states()) == {"delivered"}
    endpoint.refresh_from_db()
    assert (endpoint.waits, endpoint.wait_until, endpoint.failing_since) == (0, None, None)


def test_410_switches_it_off_and_what_waits_is_held(make: Made, serve: Serve, acme: Customer) -> None:
    endpoint, _ = make(url=serve(http(b"", status=410)).url)
    queue(endpoint)
    send()
    queue(endpoint)

    jobs.work_off()

    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.off_reason) == ("off", "gone")
    assert len(mail.outbox) == 1
    assert states() == ["held", "held"]
    entry = AuditEntry.objects.get(kind="webhook_endpoint.switched_off", customer=acme)
    assert entry.detail == {"endpoint": endpoint.code, "reason": "gone"}


def test_three_days_of_failures_only_switch_it_off_once(make: Made, serve: Serve) -> None:
    endpoint, _ = make(url=serve(http(b"", status=500)).url)
    queue(endpoint)
    send()
    for _ in range(5):
        later(timedelta(hours=14))
        endpoint.refresh_from_db()
        assert endpoint.state == "on"

    later(timedelta(hours=24))

    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.off_reason) == ("off", "failing")
    assert AuditEntry.objects.filter(kind="webhook_endpoint.switched_off").count() == 1


def test_one_success_within_three_days_keeps_it_on(make: Made, serve: Serve) -> None:
    calls: list[Call] = []

    def answer(call: Call, wire: Wire) -> bytes:
        calls.append(call)
        return http(b"", status=200 if len(calls) == 4 else 500)

    endpoint, _ = make(url=serve(answer).url)
    queue(endpoint)
    send()
    for _ in range(8):
        if "waiting" not in states():
            queue(endpoint)
        later(timedelta(hours=16))

    endpoint.refresh_from_db()
    assert endpoint.state == "on"


def test_what_was_held_is_sent_only_when_resent(make: Made, serve: Serve, alice: User) -> None:
    remote = serve(http(b""))
    endpoint, _ = make(url=remote.url)
    WebhookEndpoint.objects.update(state="off", off_reason="failing")
    endpoint.refresh_from_db()
    first, _ = queue(endpoint, 2)
    assert not delivery_actions.resend(first, by=alice), "while it is off"
    endpoints.switch_on(endpoint, by=alice)
    send()
    assert remote.calls == []

    assert delivery_actions.resend(first, by=alice)
    send()

    assert states() == ["delivered", "held"]


def test_what_waits_for_a_paused_one_goes_out_when_it_is_on_again(make: Made, serve: Serve, alice: User) -> None:
    remote = serve(http(b""))
    endpoint, _ = make(url=remote.url)
    endpoints.pause(endpoint, by=alice)
    queue(endpoint, 3)
    send()
    assert remote.calls == []

    endpoints.switch_on(endpoint, by=alice)
    send()

    assert states() == ["delivered"] * 3


def test_pausing_and_changing_take_effect_while_it_is_being_sent_to(make: Made, serve: Serve, alice: User) -> None:
    def answer(call: Call, wire: Wire) -> bytes:
        time.sleep(0.02)
        return http(b"")

    remote, other = serve(answer), serve(answer)
    endpoint, _ = make(url=remote.url)
    queue(endpoint, 60)
    sending = dispatcher.of_this_process()
    sending.turn()
    endpoints.change(endpoint, {"url": other.url}, by=alice)
    sending.turn()
    endpoints.pause(endpoint, by=alice)
    sending.finish()

    assert remote.calls
    assert other.calls
    assert len(remote.calls) + len(other.calls) < 60
    assert states().count("delivered") == len(remote.calls) + len(other.calls), "what was sent is on record"
    endpoint.refresh_from_db()
    assert endpoint.lease_until is None


def test_one_that_hangs_keeps_no_other_waiting(make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.outgoing.sender.DEADLINE", 3.0)

    def hang(call: Call, wire: Wire) -> None:
        wire.hang()

    quick = serve(http(b""))
    queue(make(url=serve(hang).url)[0], 10)
    queue(make(url=quick.url)[0], 20)
    sending, begun = dispatcher.of_this_process(), time.monotonic()
    while OutgoingDelivery.objects.filter(state="delivered").count() < 20:
        assert time.monotonic() < begun + 2.5
        sending.turn()
    sending.finish()

    assert DeliveryTry.objects.filter(error_kind="timeout").count() <= dispatcher.MOST_AT_ONCE


def test_more_endpoints_than_a_process_serves_at_a_time_all_get_theirs(
    make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MOST_ENDPOINTS", 2)
    remote = serve(http(b""))
    for _ in range(7):
        queue(make(url=remote.url)[0], 3)

    send()

    assert set(states()) == {"delivered"}
    assert len(remote.calls) == 21


def test_of_two_processes_one_sends_and_the_other_takes_over_when_its_lease_is_over(make: Made, serve: Serve) -> None:
    remote = serve(http(b""))
    endpoint, _ = make(url=remote.url)
    queue(endpoint, 3)
    killed, other = dispatcher.Dispatcher(), dispatcher.Dispatcher()
    killed._claim()
    other.turn()
    assert remote.calls == []

    WebhookEndpoint.objects.update(lease_until=Now() - timedelta(seconds=1))
    other.turn()
    while other.rows().exists():
        other.turn()
    killed.turn()

    assert len(remote.calls) == 3
    assert states() == ["delivered"] * 3


def test_a_result_that_comes_after_the_lease_is_not_written(make: Made, serve: Serve) -> None:
    remote = serve(http(b""))
    endpoint, _ = make(url=remote.url)
    queue(endpoint)
    frozen = dispatcher.Dispatcher()
    frozen._claim()
    (line,) = frozen._lines.values()
    frozen._fill(line)
    line.active += 1
    frozen._send(line)
    WebhookEndpoint.objects.update(lease_owner="another", lease_until=Now() + timedelta(seconds=9))

    frozen._write()

    assert states() == ["waiting"]
    assert not DeliveryTry.objects.exists()


def test_an_endpoint_that_is_deleted_meanwhile_leaves_nothing_behind(make: Made, serve: Serve, alice: User) -> None:
    endpoint, _ = make(url=serve(http(b"")).url)
    other, _ = make(url=serve(http(b"")).url)
    queue(endpoint)
    queue(other)
    sending = dispatcher.of_this_process()
    sending._claim()
    for line in sending._lines.values():
        sending._fill(line)
        line.active += 1
        sending._send(line)
    endpoints.delete(endpoint, by=alice)

    send()

    assert states() == ["delivered"]
    assert not sending._lines


def test_without_the_key_nothing_is_sent_and_no_try_counts(make: Made, serve: Serve, settings: Settings) -> None:
    remote = serve(http(b""))
    queue(make(url=remote.url)[0])
    settings.TOKEN_ENCRYPTION_KEYS = parse_keys("YSBuZXdlciBrZXkgb2YgMzIgYnl0ZXMsIGZvciBPNi4=")

    send()

    assert remote.calls == []
    assert OutgoingDelivery.objects.get().tries == 0


def test_what_nobody_was_woken_for_is_found_by_the_sweep(make: Made, serve: Serve) -> None:
    remote = serve(http(b""))
    queue(make(url=remote.url)[0])
    WebhookEndpoint.objects.update(due_at=None)
    send()
    assert remote.calls == []

    dispatcher.wake_forgotten()
    send()

    assert len(remote.calls) == 1


def test_its_secrets_are_not_in_what_is_kept_of_its_answer(make: Made, serve: Serve) -> None:
    def echo(call: Call, wire: Wire) -> bytes:
        return http(f"{call.headers} {secret} {secret.removeprefix('whsec_')}", headers={"X-Echo": "sesame-open"})

    endpoint, secret = make(url=serve(echo).url, headers={"X-Access": "sesame-open", "X-Short": "a"})
    queue(endpoint)
    send()

    kept = str(DeliveryTry.objects.values().get())
    assert "[hidden]" in kept
    assert "sesame" not in kept
    assert secret.removeprefix("whsec_") not in kept


def test_messages_are_kept_thirty_days_with_all_that_hangs_on_them(make: Made, serve: Serve) -> None:
    queue(make(url=serve(http(b"")).url)[0])
    send()

    (rule,) = [rule for rule in retention.RULES if rule.rows.model is OutgoingMessage]
    OutgoingMessage.objects.update(created_at=F("created_at") - timedelta(days=29))
    assert sum(retention.prune(rule)) == 0
    OutgoingMessage.objects.update(created_at=F("created_at") - timedelta(days=2))

    assert sum(retention.prune(rule)) == 1

    assert not DeliveryTry.objects.exists()


def test_thirty_days_of_a_failing_endpoint_leave_a_bounded_number_of_rows(make: Made, serve: Serve) -> None:
    """A row for each message and one for its delivery; ten tries at most, and none once it is off."""
    remote = serve(http(b"", status=500))
    endpoint, _ = make(url=remote.url)
    (rule,) = [rule for rule in retention.RULES if rule.rows.model is OutgoingMessage]
    step, tries = timedelta(hours=12), list[int]()
    for messages in range(1, 2 * 35 + 1):
        queue(endpoint)
        OutgoingMessage.objects.update(created_at=F("created_at") - step)
        later(step)
        jobs.work_off()
        tries.append(DeliveryTry.objects.count())
        assert tries[-1] <= schedule.MOST_TRIES * messages
    sum(retention.prune(rule))

    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.off_reason) == ("off", "failing")
    assert tries[8] == tries[-1], "after four days nothing is tried any more"
    assert len(remote.calls) == tries[-1]
    kept = OutgoingMessage.objects.count()
    assert kept == OutgoingDelivery.objects.count()
    assert kept <= OutgoingMessage.KEPT / step + 2
    assert not DeliveryTry.objects.exists(), "those of the first days went with their messages"
