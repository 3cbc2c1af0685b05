"""Endpoints that are switched off or paused: what waits is held, and goes out when a person wants it."""

import time
from datetime import timedelta

import pytest
from django.core import mail

from accounts.models import AuditEntry, Customer, User
from integrations.background import jobs
from integrations.models import WebhookEndpoint
from integrations.outgoing import delivery_actions, dispatcher, endpoints
from tests.outgoing.conftest import Made, Serve
from tests.outgoing.sending import later, queue, send, states
from tests.snapinspect.remotes import Call, Wire, http

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


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
