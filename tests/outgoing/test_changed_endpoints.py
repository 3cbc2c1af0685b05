"""An endpoint whose URL or secret is changed while messages to it wait or are under way."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from standardwebhooks import Webhook

from accounts.models import User
from integrations.models import DeliveryTry
from integrations.outgoing import dispatcher, endpoints
from tests.outgoing.conftest import Made, Serve
from tests.outgoing.sending import later, queue, send, states
from tests.snapinspect.remotes import Call, Wire, http

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


def test_another_url_ends_the_pause_that_the_one_before_had_asked_for(make: Made, serve: Serve, alice: User) -> None:
    busy, other = serve(http(b"", status=503, headers={"Retry-After": "86400"})), serve(http(b""))
    endpoint, _ = make(url=busy.url)
    queue(endpoint)
    send()
    queue(endpoint)
    send()
    assert len(busy.calls) == 1, "it has asked for a day"

    endpoints.change(endpoint, {"url": busy.url, "description": "The same"}, by=alice)
    send()
    assert len(busy.calls) == 1
    endpoints.change(endpoint, {"url": other.url}, by=alice)
    send()
    later(timedelta(days=1, minutes=1))

    assert (len(busy.calls), len(other.calls)) == (1, 2)
    assert states() == ["delivered"] * 2


@pytest.mark.parametrize("status", [410, 503])
def test_what_the_url_before_answers_late_says_nothing_about_the_new_one(
    make: Made, serve: Serve, alice: User, status: int
) -> None:
    other = serve(http(b""))

    def answer(call: Call, wire: Wire) -> bytes:
        endpoints.change(endpoint, {"url": other.url}, by=alice)
        connection.close()
        return http(b"", status=status, headers={"Retry-After": "3600"})

    endpoint, _ = make(url=serve(answer).url)
    queue(endpoint)
    send()

    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.wait_until, endpoint.failing_since) == ("on", None, None)
    assert [one.status for one in DeliveryTry.objects.all()] == [status]


def test_a_secret_that_is_replaced_in_the_middle_signs_what_is_sent_from_then_on(
    make: Made, serve: Serve, alice: User
) -> None:
    def answer(call: Call, wire: Wire) -> bytes:
        time.sleep(0.02)
        return http(b"")

    remote = serve(answer)
    endpoint, old = make(url=remote.url)
    queue(endpoint, 60)
    sending = dispatcher.of_this_process()
    sending.turn()
    new = endpoints.replace_secret(endpoint, by=alice)
    send()

    assert states() == ["delivered"] * 60
    signatures = [call.headers["webhook-signature"].count("v1,") for call in remote.calls]
    assert (signatures[0], signatures[-1], set(signatures)) == (1, 2, {1, 2})
    for call in remote.calls:
        Webhook(old).verify(call.body, dict(call.headers))
    Webhook(new).verify(remote.calls[-1].body, dict(remote.calls[-1].headers))
