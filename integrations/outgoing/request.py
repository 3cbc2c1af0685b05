"""One try: a signed request to an endpoint, and what became of it. Touches no database."""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils import timezone

from integrations.models import WebhookEndpoint
from integrations.outgoing import endpoints, schedule, sender
from integrations.outgoing.signatures import PREFIX, signed_headers

# What is kept of an answer, beside the first bytes of its body.
MOST_HEADERS = 20
LONGEST_HEADER = 200
MASK = "[hidden]"
SHORTEST_MASKED = 4  # characters: a shorter value of a header is no secret, and stands in many words


@dataclass(frozen=True, slots=True)
class Item:
    """A delivery to be sent."""

    pk: int
    tries: int
    webhook_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """How a try ended: with an answer from the URL, or with the kind of error for which there is none."""

    item: Item
    url: str
    at: datetime
    duration: timedelta
    status: int | None = None
    error_kind: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)
    retry_after: timedelta = timedelta(0)

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, and with which secrets: what an endpoint's row says now."""

    url: str
    signing: list[str] = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> "Target":
        """Raises CannotUnseal."""
        return cls(endpoint.url, endpoints.signing_secrets(endpoint), endpoints.custom_headers(endpoint))

    def send(self, item: Item) -> Result:
        """Sends the delivery once."""
        at, begun = timezone.now(), time.monotonic()
        headers = {
            **self.headers,
            "Content-Type": "application/json",
            **signed_headers(self.signing, message_id=item.webhook_id, at=at, body=item.body),
        }
        try:
            answer = sender.send(self.url, headers, item.body)
        except sender.NotSent as problem:
            return Result(item, self.url, at, timedelta(seconds=time.monotonic() - begun), error_kind=problem.reason)
        kept = [pair for pair in answer.headers.items() if pair[0].lower() != "set-cookie"][:MOST_HEADERS]
        return Result(
            item,
            self.url,
            at,
            timedelta(seconds=answer.seconds),
            status=answer.status,
            headers={name[:LONGEST_HEADER]: self._masked(value)[:LONGEST_HEADER] for name, value in kept},
            body=self._masked(answer.body.decode(errors="replace")),
            retry_after=schedule.retry_after(answer.headers),
        )

    def _masked(self, text: str) -> str:
        """The text without the endpoint's secrets: it may answer with what it was sent.

        Without NUL, too, which PostgreSQL does not store: nothing of the batch would be written.
        """
        text = text.replace("\0", "\ufffd")
        for secret in self.signing:
            text = text.replace(secret, MASK).replace(secret.removeprefix(PREFIX), MASK)
        # The longest first: one may be a part of another.
        for value in sorted(self.headers.values(), key=len, reverse=True):
            text = text.replace(value, MASK) if len(value) >= SHORTEST_MASKED else text
        return text
