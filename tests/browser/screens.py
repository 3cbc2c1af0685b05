"""Addresses of screens that need no rows, the registry of those that do, and the data that all of them share.

A new page adds its name and address to PLAIN, or, where rows have to exist first, a function under @screen in
customer_screens.py or staff_screens.py.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from accounts.models import Customer, Invitation, Role, User
from integrations.models import (
    Connection,
    Event,
    Panel,
    PanelAnswer,
    State,
)


@dataclass
class Scene:
    """Who and what is there before a screen is opened: Acme with its owner Alice, its member Bob, its viewer Victor."""

    acme: Customer
    alice: User
    bob: User
    victor: User

    def connection(self, company: str = "6847", name: str = "Harbour PM", **fields: object) -> Connection:
        """A connection of Acme's that has worked, in any state."""
        now = timezone.now()
        return Connection.objects.create(
            **{
                "customer": self.acme,
                "company_id": company,
                "company_name": name,
                "state": State.CONNECTED,
                "connected_by": self.alice,
                "connected_at": now - timedelta(days=20),
                "proved_at": now - timedelta(minutes=2),
                "state_since": now - timedelta(days=3),
                **fields,
            }
        )

    def panel_answer(self, panel: Panel | None, connection: Connection, **fields: object) -> PanelAnswer:
        """What a panel has shown of the connection a minute ago, and will not ask for anew."""
        now = timezone.now()
        times = {"fetched_at": now - timedelta(minutes=1), "next_ask_at": now + timedelta(hours=1)}
        return PanelAnswer.objects.create(panel=panel, connection=connection, **{**times, **fields})

    def events(self, connection: Connection, days: int = 30) -> None:
        """A month of events: more on weekdays, a few that failed, the newest still waiting."""
        now, rows = timezone.now(), []
        for day in range(days):
            at = now - timedelta(days=day)
            for number in range(3 if at.weekday() > 4 else 8 + day * 7 % 9):
                state = Event.State.FAILED if number == 5 and day % 4 == 0 else Event.State.DONE
                if day == 0 and number < 3:
                    state = Event.State.RETRYING
                received = at - timedelta(minutes=number * 3)
                rows.append(Event(connection=connection, state=state, type="Create_Inspection", received_at=received))
        Event.objects.bulk_create(reversed(rows))

    def franchise(self) -> None:
        """Twelve connections, in every state."""
        for number, state in enumerate([*State, *[State.CONNECTED] * 6]):
            connection = self.connection(str(7000 + number), f"Harbour {TOWNS[number]}", state=state)
            self.events(connection, days=number)


TOWNS = ["Bay", "Hill", "Quay", "Mill", "Park", "Vale", "Cross", "Bridge", "Green", "Wood", "Lake", "Stone"]

# What the owner Alice sees of Acme without further rows. "{code}" is the customer's.
PLAIN = {
    "first-run": "/c/{code}/",
    "no-connections": "/c/{code}/connections/",
    "no-events": "/c/{code}/events/",
    "explorer-without-a-connection": "/c/{code}/explorer/",
    "security": "/accounts/2fa/",
    "snapinspect-user": "/accounts/snapinspect/",
    "people-alone": "/c/{code}/people/",
    "company": "/c/{code}/company/",
    "leave": "/c/{code}/people/leave/",
    "start-company": "/accounts/companies/",
    "profile": "/accounts/profile/",
    "notifications": "/accounts/notifications/",
    "sessions": "/accounts/sessions/",
    "email-addresses": "/accounts/email/",
    "password": "/accounts/password/change/",
    "reauthenticate": "/accounts/reauthenticate/",
    "invitation-gone": "/accounts/invitations/made-up/",
    "stop-mails-broken": "/accounts/notifications/stop/made-up/",
    "not-found": "/c/nosuchcustomer/",
}

# What only somebody who has just shown that it is them may open.
PLAIN |= {
    "authenticator-app": "/accounts/2fa/totp/activate/",
    "security-keys": "/accounts/2fa/webauthn/",
    "add-security-key": "/accounts/2fa/webauthn/add/",
    "close-account": "/accounts/close/",
    "delete-company": "/c/{code}/delete/",
}

# What a stranger sees.
SIGNED_OUT = {
    "welcome": "/",
    "sign-in": "/accounts/login/",
    "sign-in-with-snapinspect": "/accounts/snapinspect/sign-in/",
    "sign-up": "/accounts/signup/",
    "reset-password": "/accounts/password/reset/",
    "reset-password-sent": "/accounts/password/reset/done/",
    "check-your-email": "/accounts/confirm-email/",
    "confirmation-too-old": "/accounts/confirm-email/made-up/",
    "hosted-connect-gone": "/connect/sessions/made-up/",
    "invited-sign-up": "/accounts/invitations/{token}/signup/",
    "invitation": "/accounts/invitations/{token}/",
}

TOKEN = "the-token-of-an-invitation"

# What needs rows first: each returns the address to open.
SCREENS: dict[str, Callable[[Scene], str]] = {}


def screen(prepare: Callable[[Scene], str]) -> Callable[[Scene], str]:
    SCREENS[prepare.__name__.replace("_", "-")] = prepare
    return prepare


def invitation(scene: Scene, email: str, *, days: int = 7, token: str = TOKEN) -> None:
    Invitation.objects.create(
        customer=scene.acme,
        email=email,
        role=Role.MEMBER,
        invited_by=scene.alice,
        expires_at=timezone.now() + timedelta(days=days),
        token_hash=hashlib.sha256(token.encode()).hexdigest(),
    )
