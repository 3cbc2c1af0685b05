"""The part of the inspections page that shows events, what became of their webhooks, and how to send others."""

import json
from collections import defaultdict
from collections.abc import Callable
from html import escape
from typing import Any

from integrations.sandbox import layout, webhook_orders
from integrations.sandbox.orders import Document, Unacceptable
from integrations.sandbox.world import World

ANCHOR = "events"
SHOWN = 20
MANNERS: dict[str, Document] = {
    "once": {},
    "twice, one after the other": {"copies": 2},
    "five times at once": {"copies": 5, "parallel": True},
    "late, by 30 seconds": {"delay": 30},
    "cut off, then retried": {"cut": True},
    "cut off, once": {"cut": True, "retry": False},
    "in chunks": {"chunked": True},
}


def act(world: World, given: dict[str, str]) -> str:
    """Does what a form of this section asks for; a sentence if that is not possible."""
    try:
        ACTIONS[given["action"]](world, given)
    except Unacceptable as problem:
        return str(problem)
    return ""


def manner(given: dict[str, str]) -> Document:
    if given.get("manner", "once") not in MANNERS:
        raise Unacceptable("manner is not one of those on the list.")
    return MANNERS[given.get("manner", "once")]


def forge(world: World, given: dict[str, str]) -> None:
    try:
        payload = json.loads(given.get("payload", ""))
    except ValueError:
        raise Unacceptable("payload is not JSON.") from None
    webhook_orders.send(world, {"payload": payload, **manner(given)})


def send_bytes(world: World, given: dict[str, str]) -> None:
    body = {"body_base64": given.get("body_base64", ""), "content_type": given.get("content_type", "")}
    webhook_orders.send(world, {**body, **manner(given)})


ACTIONS: dict[str, Callable[[World, dict[str, str]], Any]] = {
    "send": lambda world, given: webhook_orders.send(world, {"event": given.get("event"), **manner(given)}),
    "next": lambda world, given: webhook_orders.order_next(world, manner(given)),
    "forge": forge,
    "bytes": send_bytes,
    "pause": lambda world, _given: webhook_orders.pause(world, {}),
    "resume": lambda world, _given: webhook_orders.resume(world, {}),
    "reverse": lambda world, _given: webhook_orders.resume(world, {"order": "reversed"}),
    "speed": lambda world, given: webhook_orders.set_time(world, {"speed": given.get("speed")}),
}


def section(world: World, action: str) -> str:
    """The section as trusted HTML. `action`: the path its forms are posted to."""
    events = world.events.all()[: -SHOWN - 1 : -1]
    shown = {event["sequence"] for event in events}
    of_event = defaultdict(list)
    for delivery in world.webhooks.listed(lambda delivery: delivery.draft.event in shown):
        of_event[delivery["event"]].append(delivery)
    by_hand = world.webhooks.listed(lambda delivery: delivery.draft.event is None)[: -SHOWN - 1 : -1]
    cards = "".join(event_card(event, of_event[event["sequence"]], action) for event in events)
    return (
        f'<h2 id="{ANCHOR}">Events and their webhooks</h2>'
        "<p>Kept in memory only: a restart forgets these events, and what is not acknowledged by then is never "
        f"sent again. The newest {SHOWN} are shown.</p>"
        f'{controls(world, action)}<ul class="cards">{cards or "<li>No event yet.</li>"}</ul>'
        f"<h3>Sent by hand, of no event</h3>{delivery_list(by_hand) if by_hand else '<p>None.</p>'}"
    )


def controls(world: World, action: str) -> str:
    """Switches for all webhooks, and forms for messages that no event caused."""
    switches = world.webhooks.described()
    hold = [("resume", "Resume"), ("reverse", "Resume, newest first")] if switches["paused"] else [("pause", "Pause")]
    speed = f'<input type="text" name="speed" value="{switches["speed"]:g}" aria-label="Speed of the clock">'
    payload = '{"sType": "Create_Inspection", "iInspectionID": 1, "iCompanyID": 6847}'
    forged = f'<input type="text" name="payload" value="{escape(payload)}" aria-label="Payload, JSON">'
    raw = (
        '<input type="text" name="body_base64" aria-label="Body, base64" placeholder="Body, base64">'
        '<input type="text" name="content_type" value="application/json" aria-label="Content type">'
    )
    return (
        f"<p>Sending is {'paused' if switches['paused'] else 'on'}. The clock of the retries runs at "
        f"{switches['speed']:g} times real time (3600: an hour in a second).</p>"
        f'<div class="row">{"".join(layout.button_form(action, {"action": do}, label) for do, label in hold)}</div>'
        "<details><summary>More ways to send</summary>"
        + layout.button_form(action, {"action": "speed"}, "Set speed", extra=speed)
        + layout.button_form(action, {"action": "next"}, "Send the next event so", extra=manners("The next event"))
        + layout.button_form(action, {"action": "forge"}, "Send forged message", extra=forged + manners("Forged"))
        + layout.button_form(action, {"action": "bytes"}, "Send bytes", extra=raw + manners("Bytes"))
        + "</details>"
    )


def manners(what: str) -> str:
    choices = "".join(f"<option>{escape(name)}</option>" for name in MANNERS)
    return f'<select name="manner" aria-label="{escape(what)}: how to send">{choices}</select>'


def event_card(event: dict[str, Any], deliveries: list[dict[str, Any]], action: str) -> str:
    number = str(event["sequence"])
    sent = delivery_list(deliveries) if deliveries else "<p>No webhook address is registered for this company.</p>"
    again = layout.button_form(
        action, {"action": "send", "event": number}, "Send again", extra=manners(f"Event {number}")
    )
    return (
        f"<li>Event {number}, {clock_time(event['time'])}<br><code>{escape(json.dumps(event['payload']))}</code>"
        f"{sent}{again if deliveries else ''}</li>"
    )


def delivery_list(deliveries: list[dict[str, Any]]) -> str:
    """Deliveries with their attempts: when, and with what answer or error."""
    items = []
    for delivery in deliveries:
        attempts = "".join(
            f"<li>Attempt {attempt['attempt']}, {clock_time(attempt['time'])}: "
            f"{attempt['status'] or escape(attempt['error'])}</li>"
            for attempt in delivery["attempts"]
        )
        listed = f"<ul>{attempts}</ul>" if attempts else ""
        then = f", next attempt {clock_time(delivery['next'])}" if delivery["next"] else ""
        state = f"<strong>{delivery['state']}</strong>{then}"
        items.append(f"<li>To: {escape(delivery['to'])}, {state}{listed}</li>")
    return f"<ul>{''.join(items)}</ul>"


def clock_time(moment: str) -> str:
    """The time of day of an ISO 8601 text in UTC, to the second."""
    return f'<time datetime="{moment}">{moment[11:19]}</time>'
