"""A receiver for Connect's own webhooks, in place of the operator's system: verifies them, answers as it is told.

It is not part of SnapInspect. The signature is checked by the text of the Standard Webhooks specification 1.0.
"""

import base64
import hashlib
import hmac
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from integrations.sandbox import templates
from integrations.sandbox.http_messages import Answer, Request, Response, html, see_other

PAGE_PATH = "/sandbox/receiver"
HOOK_PATH = "/sandbox/receiver/webhooks"
KEPT = 50
BODY_SHOWN = 4000
TOLERANCE = 5 * 60  # seconds that a timestamp may differ from now
SLOW_SECONDS = 20.0  # longer than a sender of webhooks waits
ANSWERS = {
    "200": "200, received",
    "410": "410, gone: send nothing more",
    "500": "500, an error",
    "slow": f"200 after {SLOW_SECONDS:.0f} seconds",
    "redirect": "302 to this page",
}


@dataclass(frozen=True)
class Received:
    """One request. verdict: about its signature. number: how often this webhook-id has come, this one included."""

    time: str
    id: str
    number: int
    verdict: str
    answer: str
    body: bytes = field(repr=False)


class Receiver:
    """The last requests, the secret to verify them with, and how to answer. Kept in memory only. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._times_seen: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.secret, self.answer = "", "200"
            self.received: deque[Received] = deque(maxlen=KEPT)
            self._times_seen.clear()

    def close(self) -> None:
        """Ends slow answers."""
        self._stopped.set()

    def configure(self, secret: str, answer: str) -> str:
        """secret: empty leaves the one there is. Returns a sentence if that is not possible."""
        if answer not in ANSWERS:
            return "answer is not one of those on the list."
        if secret and key_of(secret) is None:
            return "secret is not whsec_ and base64."
        self.secret, self.answer = secret or self.secret, answer
        return ""

    def receive(self, request: Request) -> Answer:
        webhook_id, answer = request.headers.get("webhook-id", ""), self.answer
        with self._lock:
            number = self._times_seen[webhook_id] = self._times_seen.get(webhook_id, 0) + 1
            verdict = verify(request, self.secret)
            now = datetime.now(UTC).isoformat()
            self.received.append(Received(now, webhook_id, number, verdict, answer, request.body))
        if answer == "slow":
            self._stopped.wait(SLOW_SECONDS)
        if answer == "redirect":
            return Response(302, headers={"Location": PAGE_PATH})
        return Response(int(answer) if answer.isdecimal() else 200, b"Seen.\n", {"Content-Type": "text/plain"})


def key_of(secret: str) -> bytes | None:
    """The key of `whsec_` and base64, or None."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True) or None
    except ValueError:  # not ASCII, or not base64
        return None


def verify(request: Request, secret: str) -> str:
    """What the signature is worth, in words."""
    key = key_of(secret)
    if not secret or key is None:
        return "not verified: enter the endpoint’s secret"
    webhook_id, timestamp, signatures = (
        request.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    )
    if not (webhook_id and timestamp.isdecimal() and signatures):
        return "unsigned"
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return "too old or too new"
    digest = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + request.body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    if any(hmac.compare_digest(expected.encode(), one.encode("latin-1", "replace")) for one in signatures.split()):
        return "signature verified"
    return "WRONG SIGNATURE"


def page(receiver: Receiver, request: Request, *, url: str) -> Answer:
    """What has come, and the form that says how to answer."""
    if request.method == "POST":
        given = dict(request.form)
        problem = receiver.configure(given.get("secret", "").strip(), given.get("answer", ""))
        return html(templates.refusal_page([problem]), 400) if problem else see_other(PAGE_PATH)
    choices = "".join(
        f'<option value="{value}"{" selected" if value == receiver.answer else ""}>{escape(text)}</option>'
        for value, text in ANSWERS.items()
    )
    cards = "".join(map(card, reversed(receiver.received)))
    content = (
        "<p>It receives the webhooks that the application sends. Enter this URL there, as an endpoint:</p>"
        f"<p><code>{escape(url)}</code></p>"
        f'<form method="post" action="{PAGE_PATH}">'
        '<label class="field">The endpoint’s secret<input type="text" name="secret" autocomplete="off" '
        f'placeholder="{"set; leave empty to keep it" if receiver.secret else "whsec_…"}"></label>'
        f'<label class="field">Answer<select name="answer">{choices}</select></label>'
        '<button class="main">Save</button></form>'
        f"<h2>Received</h2><p>The newest {KEPT}, in memory.</p>"
        f'<ul class="cards">{cards or "<li>Nothing yet.</li>"}</ul>'
    )
    return html(templates.page("Webhook receiver", content, assumed="nothing: this is no part of SnapInspect."))


def card(one: Received) -> str:
    body = one.body[:BODY_SHOWN].decode("utf-8", "replace")
    again = f", received {one.number} times" if one.number > 1 else ""
    return (
        f"<li>{templates.clock_time(one.time)}, <code>{escape(one.id)}</code>{again}: "
        f"<strong>{escape(one.verdict)}</strong>, answered {escape(one.answer)}<br><code>{escape(body)}</code></li>"
    )
