"""Several endpoints and several processes: leases, results that come late, and what hangs."""

import threading
import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from accounts.models import User
from integrations.models import DeliveryTry, OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import dispatcher, endpoints
from tests.outgoing.conftest import Made, Serve
from tests.outgoing.sending import queue, send, states
from tests.snapinspect.remotes import Call, Wire, http

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


def test_one_that_hangs_keeps_no_other_waiting(make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.outgoing.sender.DEADLINE", 60.0)
    over = threading.Event()

    def hang(call: Call, wire: Wire) -> None:
        over.wait(60)

    hanging, quick = serve(hang), serve(http(b""))
    queue(make(url=hanging.url)[0], 10)
    queue(make(url=quick.url)[0], 20)
    sending, begun = dispatcher.of_this_process(), time.monotonic()
    while OutgoingDelivery.objects.filter(state="delivered").count() < 20:
        assert time.monotonic() < begun + 30, "not the minute that the hanging one takes"
        sending.turn()
    over.set()
    sending.finish()

    assert 1 <= len(hanging.calls) <= dispatcher.MOST_AT_ONCE
    assert DeliveryTry.objects.filter(error_kind="cut").count() == len(hanging.calls)


def test_however_many_hang_there_is_room_for_others(make: Made, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.outgoing.sender.DEADLINE", 60.0)
    monkeypatch.setattr(dispatcher, "MOST_ENDPOINTS", 4)
    over = threading.Event()

    def hang(call: Call, wire: Wire) -> None:
        over.wait(60)

    hanging, quick = serve(hang), serve(http(b""))
    for _ in range(6):
        queue(make(url=hanging.url)[0])
    WebhookEndpoint.objects.update(waits=1)
    queue(make(url=quick.url)[0], 3)
    sending, begun = dispatcher.Dispatcher(), time.monotonic()
    while OutgoingDelivery.objects.filter(state="delivered").count() < 3:
        assert time.monotonic() < begun + 30, "not the minute that the hanging ones take"
        sending.turn()
    assert len(hanging.calls) <= 2
    over.set()
    sending.finish()


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


def test_nothing_is_written_for_an_endpoint_that_is_deleted_meanwhile(make: Made, serve: Serve, alice: User) -> None:
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

    assert states() == ["waiting", "delivered"]
    assert DeliveryTry.objects.get().delivery.endpoint == other
    assert not sending._lines


def test_what_nobody_was_woken_for_is_found_by_the_sweep(make: Made, serve: Serve) -> None:
    remote = serve(http(b""))
    queue(make(url=remote.url)[0])
    WebhookEndpoint.objects.update(due_at=None)
    send()
    assert remote.calls == []

    dispatcher.wake_forgotten()
    send()

    assert len(remote.calls) == 1
