"""A delivery is sent, tried again by the schedule and given up; its tries are on record."""

import json
import threading
import time
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook

from integrations.background import jobs
from integrations.models import DeliveryTry, OutgoingDelivery, OutgoingMessage, WebhookEndpoint, backoff
from integrations.operations import retention
from integrations.outgoing import dispatcher, schedule
from integrations.tokens.encryption import parse_keys
from tests.outgoing.conftest import Made, Serve
from tests.outgoing.sending import later, queue, send, states
from tests.snapinspect.remotes import Call, Wire, http
from tests.support.wait import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


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


def test_what_comes_while_others_are_sent_is_sent_too_and_each_once(
    make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "BATCH", 100)
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
    began = timezone.now()
    send()

    for number, wait in enumerate(schedule.WAITS[1:], start=1):
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries, len(remote.calls)) == ("waiting", number, number)
        assert began + wait * 0.9 <= delivery.next_try_at <= timezone.now() + wait * (1 + schedule.JITTER)
        # Half a minute before, so that the time that this test takes makes nothing due.
        passed = max(wait - timedelta(seconds=30), timedelta(0))
        later(passed)
        assert len(remote.calls) == number, "not before"
        began = timezone.now()
        later(wait * (1 + schedule.JITTER) - passed)

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
    ("value", "seconds"),
    [
        ("3600", 3600),
        ("864000", 86400),
        ("99999999999999999999", 86400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("-5", 0),
        ("1e3", 0),
        ("٣", 0),
        ("soon", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2040 00:00:00 +9999", 0),
    ],
)
def test_retry_after_holds_for_the_whole_endpoint_up_to_a_day(
    make: Made, serve: Serve, value: str, seconds: int
) -> None:
    endpoint, _ = make(url=serve(http(b"", status=429, headers={"Retry-After": value})).url)
    queue(endpoint)
    began = timezone.now()
    send()

    delivery = OutgoingDelivery.objects.get()
    least, most = ((delivery.next_try_at - moment).total_seconds() for moment in (timezone.now(), began))
    assert least <= max(seconds, 6)
    assert most >= max(seconds, 5) - 1
    queue(endpoint)
    send()
    assert DeliveryTry.objects.count() == (1 if seconds else 2)


def test_a_pause_that_an_endpoint_asked_for_outlasts_answers_of_the_same_moment(make: Made, serve: Serve) -> None:
    all_sent = threading.Barrier(dispatcher.MOST_AT_ONCE)

    def answer(call: Call, wire: Wire) -> bytes:
        if all_sent.wait(30) == 0:
            return http(b"", status=429, headers={"Retry-After": "3600"})
        with closing(database):  # of this thread
            wait_until(lambda: WebhookEndpoint.objects.exclude(wait_until=None).exists())  # the pause is written
        return http(b"")

    endpoint, _ = make(url=serve(answer).url)
    queue(endpoint, dispatcher.MOST_AT_ONCE)

    send()

    assert sorted(states()) == ["delivered"] * (dispatcher.MOST_AT_ONCE - 1) + ["waiting"]
    endpoint.refresh_from_db()
    assert endpoint.wait_until is not None and endpoint.wait_until > timezone.now() + timedelta(minutes=59)


def test_an_endpoint_without_an_answer_gets_one_request_at_a_time_with_growing_pauses(
    make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backoff.wait_after_outage(0) <= timedelta(seconds=5)
    monkeypatch.setattr(backoff, "FIRST_OUTAGE_WAIT", timedelta(seconds=30))  # none ends while this test looks

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
    assert pauses[0] <= 30
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


def test_without_the_key_nothing_is_sent_and_no_try_counts(make: Made, serve: Serve, settings: Settings) -> None:
    remote = serve(http(b""))
    queue(make(url=remote.url)[0])
    settings.TOKEN_ENCRYPTION_KEYS = parse_keys("YSBuZXdlciBrZXkgb2YgMzIgYnl0ZXMsIGZvciBPNi4=")

    send()

    assert remote.calls == []
    assert OutgoingDelivery.objects.get().tries == 0


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


@pytest.mark.parametrize("body", [b"x" * 1000, b"\0"])
def test_an_answer_whose_body_never_ends_counts_by_its_status_and_is_given_up(
    make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """The long one after 64 KiB, the one that drips at the deadline."""
    monkeypatch.setattr("integrations.outgoing.sender.DEADLINE", 2.0)

    def answer(call: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nX-Odd: a\0b\r\n\r\n")
        wire.drip(body, every=0.01) if len(body) == 1 else _send_for_ever(wire, body)

    queue(make(url=serve(answer).url)[0])
    begun = time.monotonic()

    send()

    assert time.monotonic() < begun + 30
    assert states() == ["delivered"]
    attempt = DeliveryTry.objects.get()
    assert attempt.answer_headers == {"X-Odd": "a\ufffdb"}
    assert len(attempt.answer) <= DeliveryTry.MOST_ANSWER_BYTES and attempt.answer[0] in "x\ufffd"


def _send_for_ever(wire: Wire, body: bytes) -> None:
    with suppress(OSError):
        while not wire.over.is_set():
            wire.send(body)
