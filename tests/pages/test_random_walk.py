"""Row M3: whatever two customers do, in whatever order, neither ever reads a word of the other's."""

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache

from accounts.models import Customer, User
from integrations.models import Attempt, Connection, ConnectionTest, Delivery, Event, EventDelivery, Replay
from tests.support.clients import OTHER, PAT, Sandbox, Visitor, work
from tests.support.many_events import make_events
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.urls import filled, routes

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]

# A customer's pages. Those of the account itself are about nobody but who is signed in, and end the walk.
ADDRESSES = sorted(
    {path for name, path in routes() if path == "/" or path.startswith(("/c/", "/staff/", "/connect/ended/"))}
)
QUERIES = ["", "?state=failed", "?q=1000", "?type={other}", "?connection={other}", "?before={other}", "?state=nothing"]


class Side:
    """A customer with everything that one can have; its own words stand in all of it."""

    def __init__(self, owner: User, customer: Customer, connection: Connection) -> None:
        self.owner, self.customer, self.connection = owner, customer, connection
        self.words = f"Words{customer.code}"
        Customer.objects.filter(pk=customer.pk).update(name=f"{self.words} Ltd")
        # What a page shows of an account is kept here; SnapInspect's answers name the other company by themselves.
        Connection.objects.filter(pk=connection.pk).update(account_name=f"{self.words} Pat")
        for state in Event.State:
            (event,) = make_events(connection, 1, state=state, type=f"{self.words}_Type", content=f'"{self.words}"')
            body = f'{{"sNote": "{self.words}"}}'.encode()
            delivery = Delivery.objects.create(connection=connection, body=body, state=Delivery.State.PLACED)
            EventDelivery.objects.create(event=event, delivery=delivery)
            Attempt.objects.create(event=event, duration=event.received_at - event.received_at, handler=self.words)
        self.check = ConnectionTest.objects.create(connection=connection, by=owner, name=self.words)
        self.replay = Replay.objects.create(customer=customer, by=owner, matched=1, last_event=0)

    def values(self) -> dict[str, Any]:
        event = Event.objects.filter(connection__customer=self.customer).order_by("?").first()
        return {
            "code": self.customer.code,
            "connection_code": self.connection.code,
            "event_code": event.code if event else "none",
            "replay_code": self.replay.code,
            "pk": self.check.pk,
        }


def test_M3_a_random_walk_of_two_customers_shows_neither_a_word_of_the_other(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User, acme: Customer
) -> None:
    browsers = {person: visit(person) for person in (alice, charlie)}
    his = charlie.customers.get()
    sides = [
        Side(alice, acme, browsers[alice].connect(acme, sandbox, account=PAT)),
        Side(charlie, his, browsers[charlie].connect(his, sandbox, account=OTHER)),
    ]
    seed = int(os.environ.get("WALK", size(3, random.randrange(10**9))))
    chance = random.Random(seed)
    answers: Counter[int] = Counter()
    steps, seen_own = size(200, 10_000), 0
    for step in range(steps):
        mine, theirs = chance.sample(sides, 2)
        own, other = mine.values(), theirs.values()
        mixed = {name: chance.choices([own[name], other[name]], [5, 2])[0] for name in own}
        address = filled(chance.choice(ADDRESSES), mixed)
        query = chance.choice(QUERIES).format(other=chance.choice([other["event_code"], other["connection_code"]]))
        method = chance.choice(["GET", "GET", "POST"])
        fields = {
            name: chance.choice([*own.values(), *other.values(), "", "x"]) for name in ("connection", "q", "path")
        }
        cache.clear()  # some addresses count how often they are asked
        headers = {"HX-Request": "true"} if chance.random() < 0.3 else {}
        browser = browsers[mine.owner]
        if method == "GET":
            answer: Any = browser.get(address + query, headers=headers)
        else:
            answer = browser.post(address + query, fields, headers=headers)
        told = f"step {step} of WALK={seed}: {mine.owner} {method} {address}{query}: {answer.status_code}"
        text = answer.getvalue().decode("utf-8", "replace") + str(answer.headers)
        answers[answer.status_code] += 1
        assert answer.status_code < 500, told
        assert theirs.words not in text, told
        assert theirs.owner.email not in text, told
        seen_own += mine.words in text
        if step % 25 == 0:
            work()
    record(
        "M3",
        "random operations of two customers",
        f"{steps:,} steps, 0 words of the other's in any reply; {seen_own:,} with one's own",
    )
    assert seen_own > steps / 10, "the walk saw too little to prove anything"
    assert answers[404] and answers[200] and answers[302]
