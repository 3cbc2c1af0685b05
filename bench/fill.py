"""Makes the rows that are measured with: `python -m bench.fill` prints how to reach them.

One customer with one connected account, thirty days of events, and somebody who is signed in; ten panels, off; and
companies for deliveries.
"""

import json
import sys
from datetime import timedelta

import django

django.setup()

from allauth.account.models import EmailAddress  # noqa: E402
from django.db.models.functions import Now  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import Customer, User  # noqa: E402
from integrations.models import Connection, Event, Panel, State, TokenPair  # noqa: E402
from integrations.snapinspect import token_pair  # noqa: E402
from integrations.tokens import storage  # noqa: E402

COMPANIES = 5
EVENTS_A_DAY = 25
PANELS = 10


def connected(customer: Customer, by: User, company: str) -> Connection:
    connection = Connection.objects.create(
        customer=customer, company_id=company, company_name=f"Company {company}", connected_by=by,
        state=State.CONNECTED, connected_at=timezone.now(), proved_at=timezone.now(),
    )  # fmt: skip
    tokens = token_pair.TokenPair(f"access-{company}-" + "a" * 50, f"refresh-{company}-" + "r" * 50)
    TokenPair.objects.create(
        connection=connection, role=TokenPair.Role.CURRENT, proved_at=Now(), **storage.columns(tokens, connection)
    )
    return connection


def history(connection: Connection) -> None:
    now = timezone.now()
    states = [Event.State.DONE] * 23 + [Event.State.FAILED, Event.State.IGNORED]
    Event.objects.bulk_create(
        Event(
            connection=connection, state=states[number % len(states)], type="Create_Inspection",
            inspection_id=str(1_000_000 + number), company_id=connection.company_id, body_sha256="0" * 64,
            received_at=now - timedelta(days=number // EVENTS_A_DAY, minutes=number % EVENTS_A_DAY), finished_at=now,
        )
        for number in range(30 * EVENTS_A_DAY)
    )  # fmt: skip


def main() -> dict[str, str]:
    owner = User.objects.create_user("owner@example.com", "correct horse battery staple")
    EmailAddress.objects.create(user=owner, email=owner.email, verified=True, primary=True)
    customer = Customer.objects.open("Measured Property", owner=owner)
    connection = connected(customer, owner, "6847")
    history(connection)
    for number in range(COMPANIES):
        connected(Customer.objects.open(f"Company {number}", owner=owner), owner, str(7000 + number))
    Panel.objects.bulk_create(
        Panel(title=f"Panel {number}", path=f"slow/{number}", rows_at="rows", columns="ID = iInspectionID")
        for number in range(PANELS)
    )
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(owner)
    # A browser that has seen a page sends its CSRF cookie, too: without it every page begins a new one.
    browser.get(f"/c/{customer.code}/", secure=True)
    return {
        "customer": customer.code,
        "connection": connection.code,
        "cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in browser.cookies.items()),
    }


if __name__ == "__main__":
    sys.stdin.read()
    print(json.dumps(main()))
