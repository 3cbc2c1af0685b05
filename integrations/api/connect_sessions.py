"""Connect sessions: the address of the hosted Connect page for one customer, and what became of it."""

from datetime import datetime
from typing import Any, Literal, NoReturn

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from ninja import Field, Router, Schema, Status

from accounts import brand
from accounts.models import Customer
from integrations.api import customers
from integrations.api.access import ApiKeyBearer, Caller, caller_of
from integrations.api.problems import NOT_FOUND, Problem
from integrations.api.values import Asked, Code, CustomerReference, Words
from integrations.connecting import sessions
from integrations.models import ConnectSession, Scope

router = Router(tags=["connect sessions"])
READ, WRITE = ApiKeyBearer(Scope.CONNECTIONS_READ), ApiKeyBearer(Scope.CONNECTIONS_WRITE)
StatusName = Literal["open", "started", "connected", "declined", "failed", "expired"]


class CustomerAsked(Asked):
    code: Code | None = None
    external_id: Words | None = None
    name: Words | None = Field(None, description="For a customer that is made because external_id is new.")


class NewSession(Asked):
    customer: CustomerAsked
    connection: Code | None = Field(None, description="The connection to reconnect.")
    return_to: str = Field(max_length=ConnectSession.LONGEST_RETURN)


class SessionOut(Schema):
    id: str
    url: str | None = Field(description="Shown when the session is made, and not again.")
    status: StatusName
    expires_at: datetime
    customer: CustomerReference
    connection: str | None


@router.post("", auth=WRITE, response={201: SessionOut}, url_name="connect_sessions")
def create_session(request: HttpRequest, body: NewSession) -> Status[dict[str, Any]]:
    """Makes an address at which one person connects once. Hand it to your own signed-in user only."""
    caller = caller_of(request)
    if not settings.SNAPINSPECT_CLIENT_ID:
        raise Problem("conflict", "Connect is not set up here: the operator has no client ID from SnapInspect yet.")
    if not sessions.is_allowed_return(body.return_to):
        _refuse(
            "return_to",
            "This does not begin with an origin of CONNECT_RETURN_ORIGINS, or holds a fragment or a character that an"
            " address cannot hold.",
        )
    with transaction.atomic():
        customer = _customer(caller, body.customer)
        connection = None
        if body.connection:
            connection = caller.connections.filter(customer=customer, code=body.connection).first()
            if connection is None:
                raise Problem("not-found", NOT_FOUND)
        session, secret = sessions.issue(
            customer=customer, connection=connection, return_to=body.return_to, by=caller.actor
        )
    url = brand.origin() + reverse("hosted_connect", args=[secret])
    return Status(201, _described(session, url=url))


@router.get("/{slug:code}", auth=READ, response=SessionOut, url_name="connect_session")
def read_session(request: HttpRequest, code: str) -> dict[str, Any]:
    """What became of a session. Ask this, and do not believe the address that your user comes back to."""
    reached = ConnectSession.objects.filter(customer__in=caller_of(request).customers)
    session = reached.select_related("customer", "connection").filter(code=code).first()
    if session is None:
        raise Problem("not-found", NOT_FOUND)
    return _described(session)


def _customer(caller: Caller, asked: CustomerAsked) -> Customer:
    """The customer that is meant, made if its `external_id` is new and a name is given."""
    if bool(asked.code) == bool(asked.external_id):
        _refuse("customer", "Name the customer by its code or by its external_id.")
    if asked.code:
        return caller.customer(asked.code)
    assert asked.external_id is not None
    found = caller.customers.filter(external_id=asked.external_id).first()
    if found is not None:
        return found
    if asked.name is None:
        raise Problem("not-found", "No customer has this external_id. Send a name as well, and it is made.")
    return customers.create(caller, name=asked.name, external_id=asked.external_id)


def _described(session: ConnectSession, *, url: str | None = None) -> dict[str, Any]:
    status = sessions.status(session)
    return {
        "id": session.code,
        "url": url,
        "status": status.value,
        "expires_at": session.expires_at,
        "customer": {"code": session.customer.code, "external_id": session.customer.external_id or None},
        "connection": session.connection.code if session.connection else None,
    }


def _refuse(field: str, why: str) -> NoReturn:
    errors = [{"field": f"body.{field}", "detail": why}]
    raise Problem("invalid", "Change the fields that `errors` names.", errors=errors)
