"""Inserts the rows that `make bench` works with: `python -m bench.fill` prints how to reach them, as JSON.

One customer with a connection, thirty days of events, a person who is signed in, and ten inactive panels; further
customers with a connection each, whose companies receive webhooks.
"""

import json
from datetime import timedelta

import django

django.setup()

from allauth.account.models import EmailAddress  # noqa: E402
from django.db.models.functions import Now  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import Customer, User  # noqa: E402
from bench.seeding.tokens import pair_in_use  # noqa: E402
from integrations.api import keys  # noqa: E402
from integrations.models import Connection, Event, Panel, Scope, State  # noqa: E402

COMPANIES = 5
EVENTS_A_DAY = 25
PANELS = 10


def connected(customer: Customer, by: User, company: str) -> Connection:
    connection = Connection.objects.create(
        customer=customer, company_id=company, company_name=f"Company {company}", connected_by=by,
        state=State.CONNECTED, connected_at=timezone.now(), proved_at=timezone.now(),
    )  # fmt: skip
    access, refresh = f"access-{company}-" + "a" * 50, f"refresh-{company}-" + "r" * 50
    pair_in_use(connection, access, refresh, proved_at=Now()).save()
    return connection


def add_events(connection: Connection) -> None:
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
    customer = Customer.objects.create_with_owner("Benchmark Property", owner=owner)
    connection = connected(customer, owner, "6847")
    add_events(connection)
    for number in range(COMPANIES):
        connected(Customer.objects.create_with_owner(f"Company {number}", owner=owner), owner, str(7000 + number))
    Panel.objects.bulk_create(
        Panel(title=f"Panel {number}", path=f"slow/{number}", rows_at="rows", columns="ID = iInspectionID")
        for number in range(PANELS)
    )
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(owner)
    # A first page sets the CSRF cookie: without it every later page would set a new one.
    browser.get(f"/c/{customer.code}/", secure=True)
    _, key = keys.issue(name="Benchmark", scopes=[Scope.PROXY_READ, Scope.EVENTS_READ], by=None)
    return {
        "key": key,
        "customer": customer.code,
        "connection": connection.code,
        "cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in browser.cookies.items()),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
