"""Everything the stand-in knows: the registered application, people, tokens, inspections, and its own faults."""

from dataclasses import dataclass, field

from integrations.sandbox.accounts import Accounts
from integrations.sandbox.faults import Faults
from integrations.sandbox.inspections import EventList, Inspections
from integrations.sandbox.messages import Request
from integrations.sandbox.records import Records
from integrations.sandbox.request_log import RequestLog
from integrations.sandbox.tokens import Mode, Tokens


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
    """The state behind all pages. `state_file`: where it is kept; None for in memory."""

    def __init__(self, registration: Registration, *, mode: Mode, state_file: str | None) -> None:
        self.registration = registration
        self.records = Records(state_file)
        self.accounts = Accounts(self.records)
        self.tokens = Tokens(self.records, prefix=registration.token_prefix, mode=mode)
        self.events = EventList()
        self.inspections = Inspections(self.records, self.events.announce)
        self.faults = Faults()
        self.log = RequestLog()

    def company_of(self, request: Request, token: str) -> int | None:
        """Whose request it is: the token's company, dead or alive, or that of the account chosen in a form."""
        known = self.tokens.find(token) if token else None
        chosen = dict(request.form).get("account", "") if request.method == "POST" else ""
        account = self.accounts.find(known.account if known else chosen)
        return account.company_id if account else None

    def reset(self) -> None:
        """Back to the sample data: no tokens, no faults, an empty list of events."""
        self.faults.clear()
        self.tokens.reset()
        self.accounts.reset()
        self.inspections.reset()
        self.events.reset()

    def release(self) -> None:
        """Lets go of every request that waits."""
        self.faults.clear()
        self.log.close()
