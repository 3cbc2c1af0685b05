"""Events that look like events: over sixty days, most of them by day, most of them done, the newest last."""

import json
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from integrations.models import Attempt, Connection, Delivery, Event, EventDelivery, Lane, State
from integrations.seeding import customers, rows

DAYS = 60
SHARE_OF_THE_BIG_ONE = 0.2
TYPES = ["Create_Inspection"] * 45 + ["Update_Inspection_Status"] * 40 + ["Create_Review"] * 8 + ["Review_Signed"] * 7
# What becomes of those that can be worked on, by thousands.
ENDINGS = [Event.State.DONE] * 975 + [Event.State.FAILED] * 15 + [Event.State.IGNORED] * 7 + [Event.State.UNMATCHED] * 3
ERRORS = {Event.State.FAILED: "handler_failed", Event.State.UNMATCHED: "other_company", Event.State.RETRYING: "timeout"}
# How often SnapInspect tells of one event again, an attempt fails before one succeeds, a delivery is nobody's, or none.
REPEATED, SECOND_TRY, STRAY, GARBLED = 0.08, 0.05, 0.002, 0.0005
# What is written of an attempt.
TRIED = ("event", "at", "error_kind", "status", "duration", "handler")
Tried = tuple[int, datetime, str, int | None, timedelta, str]
STATUSES = ["Draft", "In Progress", "Complete"]


@dataclass(frozen=True)
class Whose:
    """The connections that events may belong to, by id: those of the big customer, and everybody's."""

    big: "array[int]"
    everybody: "array[int]"

    @classmethod
    def found(cls) -> "Whose":
        seeded = Connection.objects.filter(code__startswith=rows.PREFIX).exclude(company_id="").order_by("pk")
        big = seeded.filter(customer__code=rows.code(customers.BIG))
        return cls(*(array("q", found.values_list("pk", flat=True).iterator()) for found in (big, seeded)))

    def one(self, draw: random.Random) -> int:
        """A fifth goes to the big one; of the others, who came first has the most."""
        if self.big and draw.random() < SHARE_OF_THE_BIG_ONE:
            return draw.choice(self.big)
        return self.everybody[int(len(self.everybody) * draw.random() ** 2)]


@dataclass
class Batch:
    """What is written together. links: an event's id with the delivery that told of it."""

    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    links: list[tuple[int, Delivery]] = field(default_factory=list)
    attempts: list[Tried] = field(default_factory=list)

    def write(self) -> None:
        ids = rows.new_ids(Delivery, len(self.deliveries))
        for delivery, pk in zip(self.deliveries, ids, strict=True):
            delivery.pk = pk
        rows.write(self.deliveries)
        rows.write(self.events)
        links = ((event_id, delivery.pk) for event_id, delivery in self.links)
        rows.write_plain(EventDelivery, "event", "delivery", values=links)
        rows.write_plain(Attempt, *TRIED, values=self.attempts)
        Lane.objects.call({event.connection_id for event in self.events if event.is_open})


def add(numbers: range, draw: random.Random, *, of: int, whose: Whose, now: datetime) -> None:
    """Writes the events with these numbers, of so many in all, with what led to them."""
    chosen = [whose.one(draw) for _ in numbers]
    known = Connection.objects.in_bulk({*chosen, *whose.big[:1], whose.everybody[0]})
    instead = known[whose.big[0] if whose.big else whose.everybody[0]]
    ids = rows.new_ids(Event, len(numbers))
    batch = Batch()
    for number, pk, connection_id in zip(numbers, ids, chosen, strict=True):
        connection, moment = known[connection_id], _moment(number, of, now)
        if connection.state == State.DISCONNECTED and moment > connection.state_since:
            connection = instead  # nothing comes for a connection that is no more
        _happen(batch, number, pk, connection=connection, moment=moment, draw=draw, now=now)
    batch.write()


def _moment(number: int, of: int, now: datetime) -> datetime:
    """Evenly over the days, and within each of them mostly around noon; later numbers are later."""
    day, within = divmod(DAYS * (number + 0.5) / of, 1)
    hour = 0.52 + 0.4 * (2 * within - 1) ** 3 + 0.04 * (2 * within - 1)
    midnight = now - timedelta(days=DAYS)
    return midnight + timedelta(days=day + hour)


def _happen(
    batch: Batch, number: int, pk: int, *, connection: Connection, moment: datetime, draw: random.Random, now: datetime
) -> None:
    type_ = draw.choice(TYPES)
    inspection = str(connection.pk * 1000 + draw.randrange(1000))
    said: dict[str, str | int] = {
        "sType": type_,
        "iInspectionID": int(inspection),
        "iCompanyID": int(connection.company_id),
    }
    review = ""
    if "Review" in type_:
        review = str(int(inspection) * 10 + draw.randrange(10))
        said["iInsReviewID"] = int(review)
    if type_ == "Update_Inspection_Status":
        said["sStatus"] = draw.choice(STATUSES)
    body = json.dumps(said).encode()
    event = Event(
        pk=pk,
        code=rows.code(number),
        connection_id=connection.pk,
        type=type_,
        inspection_id=inspection,
        review_id=review,
        company_id=connection.company_id,
        body_sha256=sha256(body).hexdigest(),
        received_at=moment,
        next_attempt_at=moment,
    )
    batch.events.append(event)
    batch.attempts += _processed(event, connection, draw, now)
    for sent in range(1 + (draw.random() < REPEATED)):
        told = _delivery(body, min(moment + timedelta(minutes=5 * sent), now), event)
        batch.deliveries.append(told)
        batch.links.append((pk, told))
    if draw.random() < STRAY:
        stray = _delivery(body.replace(b'"iCompanyID": 1', b'"iCompanyID": 9'), moment, event)
        stray.state, stray.company_id = Delivery.State.UNMATCHED, f"9{event.company_id[1:]}"
        batch.deliveries.append(stray)
    if draw.random() < GARBLED:
        batch.deliveries.append(
            Delivery(received_at=moment, body=b"<html>", state=Delivery.State.QUARANTINED, problem="not_json",
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


def _processed(event: Event, connection: Connection, draw: random.Random, now: datetime) -> Iterator[Tried]:
    """The attempts at an event, and what has become of it by them."""
    waits = event.received_at > connection.state_since
    if waits and connection.state in {State.NEEDS_RECONNECT, State.SETUP_PROBLEM}:
        return
    if waits and connection.state == State.TROUBLE:
        event.state, tries, event.next_attempt_at = Event.State.RETRYING, draw.randrange(1, 4), now + customers.PAUSE
    else:
        event.state = draw.choice(ENDINGS)
        tries = Event.MOST_ATTEMPTS if event.state == Event.State.FAILED else 1 + (draw.random() < SECOND_TRY)
    event.attempts, event.last_error_kind = tries, ERRORS.get(event.state, "")
    at = event.received_at
    for number in range(tries):
        at = min(at + timedelta(seconds=3 * 4**number), now)
        is_last = number == tries - 1
        error_kind = event.last_error_kind if is_last or event.state != Event.State.DONE else "timeout"
        duration = timedelta(milliseconds=draw.randrange(20, 400))
        yield event.pk, at, error_kind, None if error_kind else 200, duration, ""
    if not event.is_open:
        event.finished_at = at
    if event.state == Event.State.DONE:
        event.proof, event.fetched_at = Event.Proof.VERIFIED, at
        event.content = json.dumps(
            {"iInspectionID": int(event.inspection_id), "sStatus": draw.choice(STATUSES), "sTitle": "Routine"},
            separators=(",", ":"),
        )
        event.content_sha256 = sha256(event.content.encode()).hexdigest()
