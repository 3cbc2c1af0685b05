"""Connections by personal access tokens, which SnapInspect's support issues by e-mail.

Support wants a webhook address with the request, so a connection and its address may be made first (`begin`). A token
is stored once SnapInspect has accepted it (`connect`).
"""

from django.db import transaction

from accounts import audit
from accounts.models import Customer, User
from integrations.connecting import completion
from integrations.events import webhook_addresses
from integrations.models import Connection, Kind, State
from integrations.snapinspect.profile import Profile
from integrations.tokens import custody


def waiting(customer: Customer) -> Connection | None:
    """This customer's connection that waits for its token, if there is one."""
    return customer.connections.filter(kind=Kind.PERSONAL, state=State.CONNECTING, pairs=None).first()


def begin(customer: Customer, *, by: User) -> Connection:
    """The connection that waits for its token, made now with a webhook address if there is none yet."""
    connection = waiting(customer)
    if connection is None:
        with transaction.atomic():
            connection = _create(customer, by=by)
            webhook_addresses.issue(connection, by=by)
    return connection


def connect(customer: Customer, connection: Connection | None, token: str, profile: Profile, *, by: User) -> int:
    """Gives this connection, or a new one, a token that `/user` has answered with this profile. Returns its ID.

    It is gone afterwards if its company was connected already: that connection has the token now.
    """
    with transaction.atomic():
        connection = connection or waiting(customer) or _create(customer, by=by)
        pair = custody.receive_personal(connection, token, by=by, profile=completion.told_by(profile))
        audit.record("personal.received", customer=customer, actor=by, subject=connection.code)
    pk = connection.pk
    completion.finish(pair)
    return pk


def _create(customer: Customer, *, by: User) -> Connection:
    connection = Connection.objects.create(customer=customer, kind=Kind.PERSONAL, connected_by=by)
    audit.record("personal.started", customer=customer, actor=by, subject=connection.code)
    return connection
