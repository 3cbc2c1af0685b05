"""Everything the stand-in knows: the registered application, people, tokens, inspections, and its own faults."""

import json
from dataclasses import dataclass, field
from typing import Any

from integrations.sandbox.accounts import Accounts
from integrations.sandbox.deliveries import Draft, Manner
from integrations.sandbox.faults import Faults
from integrations.sandbox.inspections import Event, EventList, Inspections
from integrations.sandbox.messages import Request
from integrations.sandbox.posting import Message
from integrations.sandbox.records import Records
from integrations.sandbox.request_log import RequestLog
from integrations.sandbox.tokens import Mode, Tokens
from integrations.sandbox.webhooks import Webhooks

APPLICATION = "application"


@dataclass(frozen=True)
class Registration:
    """The one registered application, as the vendor's support would have entered it."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    app_name: str
    token_prefix: str = ""
    webhook_url: str = field(default="", repr=False)


class World:
    """The state behind all pages. `state_file`: where it is kept; None for in memory. `speed`: of the webhooks."""

    def __init__(self, registration: Registration, *, mode: Mode, state_file: str | None, speed: float = 1) -> None:
        self.registration = registration
        self.records = Records(state_file)
        self.accounts = Accounts(self.records)
        self.tokens = Tokens(self.records, prefix=registration.token_prefix, mode=mode)
        self.events = EventList()
        self.webhooks = Webhooks(speed=speed)
        self.inspections = Inspections(self.records, self.announce)
        self.faults = Faults()
        self.log = RequestLog()

    def company_of(self, request: Request, token: str) -> int | None:
        """Whose request it is: the token's company, dead or alive, or that of the account chosen in a form."""
        known = self.tokens.find(token) if token else None
        chosen = dict(request.form).get("account", "") if request.method == "POST" else ""
        account = self.accounts.find(known.account if known else chosen)
        return account.company_id if account else None

    def announce(self, payload: dict[str, Any]) -> Event:
        """Records an event and has its webhooks sent, without waiting for them: the one door all events leave by."""
        event = self.events.record(payload)
        manner = self.webhooks.next_manner()
        self.webhooks.dispatch(self.drafts(event, manner), manner)
        return event

    def drafts(self, event: Event, manner: Manner, addresses: dict[str, str] | None = None) -> list[Draft]:
        """The webhooks of an event, one for each of these addresses; None: those registered for its company."""
        payload = event["payload"]
        if addresses is None:
            addresses = self.webhook_addresses(payload["iCompanyID"])
        message = Message(json.dumps(payload).encode(), chunked=manner.chunked)
        return [Draft(message, to, url, event["sequence"], payload["iInspectionID"]) for url, to in addresses.items()]

    def webhook_addresses(self, company: int) -> dict[str, str]:
        """Where a company's events are sent, and what the address belongs to: the application, a personal token.

        Assumed: an address that is registered twice gets each event once.
        """
        registered = {self.registration.webhook_url: APPLICATION}
        for token in self.tokens.personal():
            account = self.accounts.find(token.account)
            if account and account.company_id == company:
                registered.setdefault(token.webhook_url, f"personal token {token.fingerprint}")
        return {url: to for url, to in registered.items() if url}

    def reset(self) -> None:
        """Back to the sample data: no tokens, no faults, an empty list of events, no webhook under way."""
        self.webhooks.reset()
        self.faults.clear()
        self.tokens.reset()
        self.accounts.reset()
        self.inspections.reset()
        self.events.reset()

    def release(self) -> None:
        """Lets go of every request that waits, and of every webhook."""
        self.faults.clear()
        self.log.close()
        self.webhooks.close()
