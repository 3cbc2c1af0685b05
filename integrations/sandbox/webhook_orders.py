"""Orders about webhooks: to send by hand or in bulk, to pause, to speed up the clock, to see what became of them."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from integrations.sandbox.addresses import acceptable_webhook
from integrations.sandbox.deliveries import Draft, Manner
from integrations.sandbox.inspections import Event
from integrations.sandbox.orders import Document, Unacceptable, count_in, number_in, only, wait_in
from integrations.sandbox.posting import Message
from integrations.sandbox.webhooks import MOST_AT_ONCE
from integrations.sandbox.world import APPLICATION, World

MOST_EVENTS = 10_000
LEAST_SPEED, MOST_SPEED = 0.01, 1e6
LONGEST_DELAY = 7 * 24 * 3600
MANNER = tuple(field.name for field in fields(Manner))
FLAGS = ("parallel", "cut", "chunked", "retry")
CONTENT_TYPE = re.compile(r"[\x20-\x7e]{0,200}")


def manner_in(order: Document, *, retry: bool = True) -> Manner:
    """How to send, from an order with the fields of `Manner`. `retry`: what holds when the order does not say."""
    flags = {name: order.get(name, name == "retry" and retry) for name in FLAGS}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise Unacceptable(f"{name} must be true or false.")
    copies = count_in(order, "copies", 1, most=MOST_AT_ONCE)
    return Manner(copies=copies, delay=number_in(order, "delay", 0, most=LONGEST_DELAY), **flags)


def send(world: World, order: Document) -> Any:
    """Sends one of three things, in the manner the order says:

    `event`: the event of this sequence number once more, to the same addresses and with the vendor's retries;
    `payload`: any JSON, forged or not; `body_base64`: these bytes, as `content_type`. The last two go to the
    application's address and are not tried again unless `retry` is true. `url`: goes there instead.
    """
    only(order, "event", "payload", "body_base64", "content_type", "url", "wait", *MANNER)
    if len(order.keys() & {"event", "payload", "body_base64"}) != 1:
        raise Unacceptable("Exactly one of event, payload and body_base64 is needed.")
    url = order.get("url")
    if url is not None and not (isinstance(url, str) and acceptable_webhook(url)):
        raise Unacceptable("url must be https, or http on this machine.")
    manner = manner_in(order, retry="event" in order)
    if "event" in order:
        drafts = event_drafts(world, order, manner, url)
    else:
        target = url or world.registration.webhook_url
        drafts = [Draft(message_in(order, manner), "this url" if url else APPLICATION, target)] if target else []
    if not drafts:
        raise Unacceptable("There is no webhook address to send this to.")
    return listing(world, {"batch": world.webhooks.dispatch(drafts, manner), "wait": wait_in(order)})


def event_drafts(world: World, order: Document, manner: Manner, url: str | None) -> list[Draft]:
    event = world.events.find(str(order["event"]))
    if event is None:
        raise Unacceptable("event is not the sequence number of an event.")
    return world.drafts(event, manner, {url: "this url"} if url else None)


def message_in(order: Document, manner: Manner) -> Message:
    if "payload" in order:
        return Message(json.dumps(order["payload"]).encode(), chunked=manner.chunked)
    content_type = order.get("content_type", "application/json")
    if not isinstance(content_type, str) or not CONTENT_TYPE.fullmatch(content_type):
        raise Unacceptable("content_type must be printable ASCII text.")
    try:
        body = base64.b64decode(order["body_base64"], validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unacceptable("body_base64 is not base64.") from None
    return Message(body, content_type, chunked=manner.chunked)


def order_next(world: World, order: Document) -> Any:
    """Has the next `events` events (1) sent in another manner than the vendor's."""
    only(order, "events", *MANNER)
    world.webhooks.order_next(manner_in(order), count_in(order, "events", 1, most=MOST_EVENTS))
    return {}


def bulk(world: World, order: Document) -> Any:
    """Uploads `events` inspections of `company` and sends their webhooks, in the manner the order says.

    `parallel`: how many first attempts are under way at once (1: one after the other, in their order); with
    `copies`, those of one event follow each other. `per_second`: starts at most so many, in real seconds. The
    answer is that of the listing, which tells by `batch` which inspections were acknowledged.
    """
    only(order, "events", "company", "parallel", "per_second", "wait", "copies", "delay", "cut", "chunked", "retry")
    company = order.get("company")
    if not isinstance(company, int) or company not in world.accounts.companies():
        raise Unacceptable("company is not one of an account.")
    events = count_in(order, "events", 1, most=MOST_EVENTS)
    at_once = count_in(order, "parallel", 1, most=MOST_AT_ONCE)
    pace = number_in(order, "per_second", 1, least=0.1) if "per_second" in order else None
    manner = manner_in({name: value for name, value in order.items() if name != "parallel"})
    addresses = world.webhook_addresses(company)
    if not addresses:
        raise Unacceptable("There is no webhook address to send this to.")
    drafts: list[Draft] = []

    def announce(payload: dict[str, Any]) -> Event:
        event = world.events.record(payload)
        drafts.extend(world.drafts(event, manner, addresses))
        return event

    for number in range(1, events + 1):
        world.inspections.upload(company, f"Bulk upload {number} of {events}", announce=announce)
    batch = world.webhooks.dispatch(drafts, manner, at_once=at_once, per_second=pace)
    return listing(world, {"batch": batch, "wait": wait_in(order)})


def listing(world: World, order: Document) -> Any:
    """Every delivery with its state, or those of one `batch` or `event`. `wait`: until all of them are settled.

    `acknowledged`, `failed`, `pending`: the inspections of which a webhook was answered with 200; of which all
    were dropped; of which one may still arrive. `counts`: deliveries by state. With `detail=counts` no delivery
    is listed singly.
    """
    only(order, "batch", "event", "wait", "detail")
    wanted = {name: int(number_in(order, name, 0)) for name in ("batch", "event") if name in order}
    deliveries = world.webhooks.listed(
        lambda delivery: (
            wanted.get("batch", delivery.batch) == delivery.batch
            and wanted.get("event", delivery.draft.event) == delivery.draft.event
        ),
        wait=wait_in(order),
    )
    states = [delivery["state"] for delivery in deliveries]
    of_inspection: dict[int, set[str]] = {}
    for delivery in deliveries:
        if delivery["inspection"] is not None:
            of_inspection.setdefault(delivery["inspection"], set()).add(delivery["state"])
    acknowledged = [number for number, found in of_inspection.items() if "acknowledged" in found]
    failed = [number for number, found in of_inspection.items() if found == {"dropped"}]
    return {
        **world.webhooks.described(),
        **({"batch": wanted["batch"]} if "batch" in wanted else {}),
        "settled": all(state in ("acknowledged", "dropped") for state in states),
        "counts": {state: states.count(state) for state in ("waiting", "sending", "acknowledged", "dropped")},
        "acknowledged": acknowledged,
        "failed": failed,
        "pending": sorted(of_inspection.keys() - set(acknowledged) - set(failed)),
        "deliveries": [] if order.get("detail") == "counts" else deliveries,
    }


def pause(world: World, _order: Document) -> Any:
    """Holds all attempts back that have not begun."""
    world.webhooks.pause()
    return world.webhooks.described()


def resume(world: World, order: Document) -> Any:
    """Goes on. `order`: *reversed* sends what waited for its first attempt one by one, the newest first."""
    only(order, "order")
    if order.get("order", "as it was") not in ("as it was", "reversed"):
        raise Unacceptable("order must be “as it was” or “reversed”.")
    world.webhooks.resume(order.get("order", "as it was"))
    return world.webhooks.described()


def set_time(world: World, order: Document) -> Any:
    """`speed`: how much faster than real time retries (and delays) come, 3600 for an hour in a second.

    `answer_within`: real seconds to wait for a receiver. Both hold until a reset.
    """
    only(order, "speed", "answer_within")
    speed = number_in(order, "speed", 1, least=LEAST_SPEED, most=MOST_SPEED) if "speed" in order else None
    seconds = number_in(order, "answer_within", 1, least=0.01, most=3600) if "answer_within" in order else None
    world.webhooks.set_time(speed=speed, seconds=seconds)
    return world.webhooks.described()


ORDERS: dict[tuple[str, str], Callable[[World, Document], Any]] = {
    ("POST", "webhooks/send"): send,
    ("POST", "webhooks/next"): order_next,
    ("POST", "webhooks/bulk"): bulk,
    ("POST", "webhooks/pause"): pause,
    ("POST", "webhooks/resume"): resume,
    ("GET", "webhooks"): listing,
    ("POST", "time"): set_time,
}
