"""Seeded events: over sixty days, most of them around noon, most of them done, in order of their time."""

import json
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from bench.seeding import customers, rows
from integrations.models import Attempt, Connection, Delivery, Event, EventDelivery, EventQueue, State

DAYS = 60
SHARE_OF_LARGE = 0.2
TYPES = ["Create_Inspection"] * 45 + ["Update_Inspection_Status"] * 40 + ["Create_Review"] * 8 + ["Review_Signed"] * 7
# One is rngn for each event that could be processed.
FINAL_STATES = (
    [Event.State.DONE] * 975 + [Event.State.FAILED] * 15 + [Event.State.IGNORED] * 7 + [Event.State.UNMATCHED] * 3
)
ERRORS = {Event.State.FAILED: "handler_failed", Event.State.UNMATCHED: "other_company", Event.State.RETRYING: "timeout"}
# Shares of all events: delivered twice; done at the second attempt; together with a delivery of an unknown company, or
# with one that is no JSON.
DELIVERED_TWICE, SECOND_ATTEMPT, UNKNOWN_COMPANY, NO_JSON = 0.08, 0.05, 0.002, 0.0005
ATTEMPT_FIELDS = ("event", "at", "error_kind", "status", "duration", "handler")
AttemptValues = tuple[int, datetime, str, int | None, timedelta, str]
STATUSES = ["Draft", "In Progress", "Complete"]


@dataclass(frozen=True)
class Connections:
    """IDs of the connections that events may belong to."""

    of_large: "array[int]"
    all: "array[int]"

    @classmethod
    def load(cls) -> "Connections":
        seeded = Connection.objects.filter(code__startswith=rows.PREFIX).exclude(company_id="").order_by("pk")
        of_large = seeded.filter(customer__code=rows.code(customers.LARGE))
        return cls(*(array("q", query.values_list("pk", flat=True).iterator()) for query in (of_large, seeded)))

    def choose(self, rng: random.Random) -> int:
        """One connection at random: a fifth of the time of the large customer, else older ones more often."""
        if self.of_large and rng.random() < SHARE_OF_LARGE:
            return rng.choice(self.of_large)
        return self.all[int(len(self.all) * rng.random() ** 2)]


@dataclass
class Batch:
    """Rows that are inserted together. `links` holds the ID of an event and one of its deliveries."""

    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    links: list[tuple[int, Delivery]] = field(default_factory=list)
    attempts: list[AttemptValues] = field(default_factory=list)

    def insert(self) -> None:
        ids = rows.reserve_ids(Delivery, len(self.deliveries))
        for delivery, pk in zip(self.deliveries, ids, strict=True):
            delivery.pk = pk
        rows.insert(self.deliveries)
        rows.insert(self.events)
        links = ((event_id, delivery.pk) for event_id, delivery in self.links)
        rows.insert_values(EventDelivery, "event", "delivery", values=links)
        rows.insert_values(Attempt, *ATTEMPT_FIELDS, values=self.attempts)
        EventQueue.objects.wake({event.connection_id for event in self.events if event.is_open})


def add(numbers: range, rng: random.Random, *, total: int, connections: Connections, now: datetime) -> None:
    """Inserts the events with these numbers, of `total` in all, with their deliveries and attempts."""
    chosen = [connections.choose(rng) for _ in numbers]
    substitute_id = connections.of_large[0] if connections.of_large else connections.all[0]
    by_id = Connection.objects.in_bulk({*chosen, substitute_id})
    ids = rows.reserve_ids(Event, len(numbers))
    batch = Batch()
    for number, pk, connection_id in zip(numbers, ids, chosen, strict=True):
        connection, received_at = by_id[connection_id], _received_at(number, total, now)
        if connection.state == State.DISCONNECTED and received_at > connection.state_since:
            connection = by_id[substitute_id]  # a disconnected one receives nothing
        _add_event(batch, number, pk, connection=connection, received_at=received_at, rng=rng, now=now)
    batch.insert()


def _received_at(number: int, total: int, now: datetime) -> datetime:
    """Evenly over the days, mostly around the middle of each; ascending with the number."""
    day, fraction = divmod(DAYS * (number + 0.5) / total, 1)
    time_of_day = 0.52 + 0.4 * (2 * fraction - 1) ** 3 + 0.04 * (2 * fraction - 1)
    return now - timedelta(days=DAYS) + timedelta(days=day + time_of_day)


def _add_event(
    batch: Batch,
    number: int,
    pk: int,
    *,
    connection: Connection,
    received_at: datetime,
    rng: random.Random,
    now: datetime,
) -> None:
    type_ = rng.choice(TYPES)
    inspection = str(connection.pk * 1000 + rng.randrange(1000))
    payload: dict[str, str | int] = {
        "sType": type_,
        "iInspectionID": int(inspection),
        "iCompanyID": int(connection.company_id),
    }
    review = ""
    if "Review" in type_:
        review = str(int(inspection) * 10 + rng.randrange(10))
        payload["iInsReviewID"] = int(review)
    if type_ == "Update_Inspection_Status":
        payload["sStatus"] = rng.choice(STATUSES)
    body = json.dumps(payload).encode()
    event = Event(
        pk=pk,
        code=rows.code(number),
        connection_id=connection.pk,
        type=type_,
        inspection_id=inspection,
        review_id=review,
        company_id=connection.company_id,
        body_sha256=sha256(body).hexdigest(),
        received_at=received_at,
        next_attempt_at=received_at,
    )
    batch.events.append(event)
    batch.attempts += _process(event, connection, rng, now)
    for index in range(1 + (rng.random() < DELIVERED_TWICE)):
        delivery = _delivery(body, min(received_at + timedelta(minutes=5 * index), now), event)
        batch.deliveries.append(delivery)
        batch.links.append((pk, delivery))
    if rng.random() < UNKNOWN_COMPANY:
        unmatched = _delivery(body.replace(b'"iCompanyID": 1', b'"iCompanyID": 9'), received_at, event)
        unmatched.state, unmatched.company_id = Delivery.State.UNMATCHED, f"9{event.company_id[1:]}"
        batch.deliveries.append(unmatched)
    if rng.random() < NO_JSON:
        batch.deliveries.append(
            Delivery(received_at=received_at, body=b"<html>", state=Delivery.State.QUARANTINED, problem="not_json",
                     **dict.fromkeys(("content_type", "type", "inspection_id", "review_id", "company_id"), ""))
        )  # fmt: skip


def _delivery(body: bytes, received_at: datetime, event: Event) -> Delivery:
    return Delivery(
        received_at=received_at,
        content_type="application/json",
        body=body,
        state=Delivery.State.PLACED,
        problem="",
        type=event.type,
        inspection_id=event.inspection_id,
        review_id=event.review_id,
        company_id=event.company_id,
    )


def _process(event: Event, connection: Connection, rng: random.Random, now: datetime) -> Iterator[AttemptValues]:
    """Yields the attempts at this event, and sets its state."""
    since_state_change = event.received_at > connection.state_since
    if since_state_change and connection.state in {State.NEEDS_RECONNECT, State.SETUP_PROBLEM}:
        return
    if since_state_change and connection.state == State.TROUBLE:
        event.state, attempts = Event.State.RETRYING, rng.randrange(1, 4)
        event.next_attempt_at = now + customers.PAUSE
    else:
        event.state = rng.choice(FINAL_STATES)
        attempts = Event.MOST_ATTEMPTS if event.state == Event.State.FAILED else 1 + (rng.random() < SECOND_ATTEMPT)
    event.attempts, event.last_error_kind = attempts, ERRORS.get(event.state, "")
    at = event.received_at
    for number in range(attempts):
        at = min(at + timedelta(seconds=3 * 4**number), now)
        is_last = number == attempts - 1
        error_kind = event.last_error_kind if is_last or event.state != Event.State.DONE else "timeout"
        duration = timedelta(milliseconds=rng.randrange(20, 400))
        yield event.pk, at, error_kind, None if error_kind else 200, duration, ""
    if not event.is_open:
        event.finished_at = at
    if event.state == Event.State.DONE:
        event.proof, event.fetched_at = Event.Proof.VERIFIED, at
        event.content = json.dumps(
            {"iInspectionID": int(event.inspection_id), "sStatus": rng.choice(STATUSES), "sTitle": "Routine"},
            separators=(",", ":"),
        )
        event.content_sha256 = sha256(event.content.encode()).hexdigest()
