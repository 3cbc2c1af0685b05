"""The state of the stand-in: the registered application, accounts, tokens, inspections, webhooks and faults."""

import json
from dataclasses import dataclass, field
from typing import Any

from integrations.sandbox.accounts import Accounts
from integrations.sandbox.faults import Faults
from integrations.sandbox.http_messages import Request
from integrations.sandbox.inspections import Event, EventList, Inspections
from integrations.sandbox.receiver import Receiver
from integrations.sandbox.request_log import RequestLog
from integrations.sandbox.storage import Storage
from integrations.sandbox.tokens import Tokens
from integrations.sandbox.webhooks import Webhooks

APPLICATION = "application"


@dataclass(frozen=True)
class Registration:
    """The one registered application, as the vendor's support would enter it."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    app_name: str
    token_prefix: str = ""
    webhook_url: str = field(default="", repr=False)


class Provider:
    """All state. `state_file`: where it is stored; None keeps it in memory. `webhook_speed`: see `Webhooks`."""

    def __init__(self, registration: Registration, *, state_file: str | None = None, webhook_speed: float = 1) -> None:
        self.registration = registration
        self.storage = Storage(state_file)
        self.accounts = Accounts(self.storage)
        self.tokens = Tokens(self.storage, prefix=registration.token_prefix)
        self.events = EventList()
        self.webhooks = Webhooks(speed=webhook_speed)
        self.inspections = Inspections(self.storage, self.announce)
        self.faults = Faults()
        self.log = RequestLog()
        self.receiver = Receiver()

    def company_of(self, request: Request, token: str) -> int | None:
        """The company of the token, whatever its status, or of the account that is chosen in a form."""
        known = self.tokens.find(token) if token else None
        chosen = dict(request.form).get("account", "") if request.method == "POST" else ""
        account = self.accounts.find(known.account if known else chosen)
        return account.company_id if account else None

    def announce(self, payload: dict[str, Any]) -> None:
        """Records an event and sends its webhooks in the background."""
        self.send_webhooks(self.events.add(payload))

    def send_webhooks(self, event: Event) -> None:
        """Sends an event to all URLs registered for its company. Assumed: a URL registered twice gets it once."""
        payload = event["payload"]
        registered = {self.registration.webhook_url: APPLICATION}
        for token in self.tokens.personal():
            account = self.accounts.find(token.account)
            if account and account.company_id == payload["iCompanyID"]:
                registered.setdefault(token.webhook_url, f"personal token {token.fingerprint}")
        inspection, body = payload["iInspectionID"], json.dumps(payload).encode()
        for url, to in registered.items():
            if url:
                self.webhooks.send(body, to=to, url=url, event=event["sequence"], inspection=inspection)

    def reset(self) -> None:
        """Back to the sample data: no tokens, faults, events or webhooks, an empty log."""
        self.webhooks.reset()
        self.faults.clear()
        self.tokens.reset()
        self.accounts.reset()
        self.inspections.reset()
        self.events.reset()
        self.log.clear()
        self.receiver.reset()

    def stop(self) -> None:
        """Ends all waits."""
        self.faults.clear()
        self.log.close()
        self.webhooks.close()
        self.receiver.close()
