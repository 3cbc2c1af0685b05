"""Webhook endpoints, and what was delivered to them."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from pydantic import AfterValidator, StringConstraints

from integrations.api.access import ApiKeyBearer, Caller, caller_of
from integrations.api.paging import page
from integrations.api.problems import NOT_FOUND, Problem
from integrations.api.values import After, Asked, Code, Limit, Text, storable
from integrations.models import OutgoingDelivery, Scope, WebhookEndpoint
from integrations.outgoing import delivery_actions, endpoints
from integrations.outgoing.message_types import TYPES
from integrations.tokens.encryption import CannotUnseal

router = Router(tags=["webhook endpoints"])
deliveries = Router(tags=["webhook endpoints"])
READ, WRITE = ApiKeyBearer(Scope.EVENTS_READ), ApiKeyBearer(Scope.EVENTS_WRITE)
EVERY_TYPE = WebhookEndpoint.EVERY_TYPE

Url = Annotated[str, StringConstraints(max_length=WebhookEndpoint.LONGEST_URL), AfterValidator(storable)]
Types = Annotated[list[Text], Field(description=f'["{EVERY_TYPE}"] for all, or some of: {", ".join(TYPES)}.')]
Headers = Annotated[dict[Text, str], Field(description="Sent with every request. Values are never shown again.")]
Description = Annotated[str, StringConstraints(max_length=WebhookEndpoint.DESCRIPTION_LENGTH), AfterValidator(storable)]
EndpointState = Literal["on", "paused", "off"]
DeliveryState = Literal["waiting", "delivered", "failed", "held"]


class NewEndpoint(Asked):
    url: Url
    types: Types
    customer: Code | None = Field(None, description="Whose messages it gets. null: those of all that the key reaches.")
    headers: Headers = Field(default_factory=dict)
    description: Description = ""


class EndpointChange(Asked):
    url: Url | None = None
    types: Types | None = None
    headers: Headers | None = Field(None, description="Replaces all of them.")
    description: Description | None = None
    state: Literal["on", "paused"] | None = None


class EndpointOut(Schema):
    code: str
    url: str
    types: list[str]
    customer: str | None = Field(description="Its code; null for an endpoint that gets the messages of all customers.")
    headers: list[str] = Field(description="The names of the custom headers.")
    description: str
    state: EndpointState
    off_reason: str | None
    failing_since: datetime | None
    last_delivered_at: datetime | None
    created_at: datetime

    @staticmethod
    def resolve_customer(endpoint: WebhookEndpoint) -> str | None:
        return endpoint.customer.code if endpoint.customer else None

    @staticmethod
    def resolve_headers(endpoint: WebhookEndpoint) -> Any:
        return endpoint.header_names

    @staticmethod
    def resolve_off_reason(endpoint: WebhookEndpoint) -> str | None:
        return endpoint.off_reason or None

    @staticmethod
    def resolve_last_delivered_at(endpoint: WebhookEndpoint) -> datetime | None:
        return endpoint.delivered_at


class SecretOut(Schema):
    secret: str = Field(description="Signs what is sent. Shown this once.")


class EndpointMade(EndpointOut, SecretOut):
    pass


class EndpointPage(Schema):
    items: list[EndpointOut]
    next: str | None


class TryOut(Schema):
    at: datetime
    status: int | None
    error: str | None = Field(description="Why there is no answer: a stable word.")
    seconds: float


class DeliveryOut(Schema):
    id: str
    webhook_id: str = Field(description="The same for every try, every resend and every endpoint.")
    type: str
    state: DeliveryState
    tries: int = Field(description="Since it was made or last resent.")
    created_at: datetime
    next_try_at: datetime | None
    delivered_at: datetime | None

    @staticmethod
    def resolve_id(delivery: OutgoingDelivery) -> str:
        return delivery.code

    @staticmethod
    def resolve_webhook_id(delivery: OutgoingDelivery) -> str:
        return delivery.message.webhook_id

    @staticmethod
    def resolve_type(delivery: OutgoingDelivery) -> str:
        return delivery.message.type

    @staticmethod
    def resolve_created_at(delivery: OutgoingDelivery) -> datetime:
        return delivery.message.created_at

    @staticmethod
    def resolve_next_try_at(delivery: OutgoingDelivery) -> datetime | None:
        return delivery.next_try_at if delivery.state == OutgoingDelivery.State.WAITING else None


class WholeDelivery(DeliveryOut):
    body: Any = Field(description="What is sent.")
    timeline: list[TryOut] = Field(description="Each try, the oldest first.")

    @staticmethod
    def resolve_body(delivery: OutgoingDelivery) -> Any:
        return json.loads(delivery.message.body)

    @staticmethod
    def resolve_timeline(delivery: OutgoingDelivery) -> list[dict[str, Any]]:
        return [
            {
                "at": one.at,
                "status": one.status,
                "error": one.error_kind or None,
                "seconds": one.duration.total_seconds(),
            }
            for one in delivery.timeline.all()
        ]


class DeliveryPage(Schema):
    items: list[DeliveryOut]
    next: str | None


@router.get("", auth=READ, response=EndpointPage, url_name="webhook_endpoints")
def list_endpoints(
    request: HttpRequest, *, customer: Code | None = None, after: After = "", limit: Limit = 50
) -> dict[str, object]:
    """Endpoints that the key reaches, oldest first; of a customer."""
    rows = caller_of(request).webhook_endpoints
    if customer:
        rows = rows.filter(customer__code=customer)
    items, following = page(rows, after=after, limit=limit)
    return {"items": items, "next": following}


@router.post("", auth=WRITE, response={201: EndpointMade}, url_name="webhook_endpoints")
def create_endpoint(request: HttpRequest, body: NewEndpoint) -> Status[WebhookEndpoint]:
    """Makes an endpoint. What happens from now on is sent there."""
    caller = caller_of(request)
    customer = caller.customer(body.customer) if body.customer else caller.key.customer
    try:
        endpoint, secret = endpoints.create(
            url=body.url,
            types=body.types,
            customer=customer,
            headers=body.headers,
            description=body.description,
            by=caller.actor,
        )
    except endpoints.Invalid as invalid:
        raise _problem(invalid) from None
    endpoint.secret = secret  # type: ignore[attr-defined]
    return Status(201, endpoint)


@router.get("/{slug:code}", auth=READ, response=EndpointOut, url_name="webhook_endpoint")
def read_endpoint(request: HttpRequest, code: str) -> WebhookEndpoint:
    """One endpoint."""
    return caller_of(request).webhook_endpoint(code)


@router.patch("/{slug:code}", auth=WRITE, response=EndpointOut, url_name="webhook_endpoint")
def change_endpoint(request: HttpRequest, code: str, body: EndpointChange) -> WebhookEndpoint:
    """Changes the members that are sent, and no others. `state` pauses it, or turns it on again."""
    caller = caller_of(request)
    endpoint = caller.webhook_endpoint(code)
    values = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
    state = values.pop("state", endpoint.state)
    try:
        if values:
            endpoints.change(endpoint, values, by=caller.actor)
    except endpoints.Invalid as invalid:
        raise _problem(invalid) from None
    except CannotUnseal:
        raise Problem("conflict", "Its secret cannot be opened any more. Replace the secret first.") from None
    if state != endpoint.state:
        act = endpoints.pause if state == WebhookEndpoint.State.PAUSED else endpoints.switch_on
        if not act(endpoint, by=caller.actor):
            raise Problem("conflict", "It cannot be paused, or needs a new secret before it can be turned on.")
    return caller.webhook_endpoint(code)


@router.delete("/{slug:code}", auth=WRITE, response={204: None}, url_name="webhook_endpoint")
def delete_endpoint(request: HttpRequest, code: str) -> Status[None]:
    """Deletes it with its deliveries. Nothing more is sent there."""
    caller = caller_of(request)
    endpoints.delete(caller.webhook_endpoint(code), by=caller.actor)
    return Status(204, None)


@router.post("/{slug:code}/secret", auth=WRITE, response=SecretOut, url_name="endpoint_secret")
def replace_secret(request: HttpRequest, code: str) -> dict[str, str]:
    """A new signing secret. The one before signs beside it for a day."""
    caller = caller_of(request)
    return {"secret": endpoints.replace_secret(caller.webhook_endpoint(code), by=caller.actor)}


@router.post("/{slug:code}/test", auth=WRITE, response={201: DeliveryOut}, url_name="endpoint_test")
def test_endpoint(request: HttpRequest, code: str) -> Status[OutgoingDelivery]:
    """Sends a message of the type `endpoint.test` there."""
    caller = caller_of(request)
    sent = delivery_actions.send_test(caller.webhook_endpoint(code), by=caller.actor)
    return Status(201, _delivery(caller, sent.code))


@router.get("/{slug:code}/deliveries", auth=READ, response=DeliveryPage, url_name="endpoint_deliveries")
def list_deliveries(
    request: HttpRequest, code: str, *, state: DeliveryState | None = None, after: After = "", limit: Limit = 50
) -> dict[str, object]:
    """Deliveries to this endpoint, oldest first; in a state."""
    caller = caller_of(request)
    rows = _deliveries(caller).filter(endpoint=caller.webhook_endpoint(code))
    if state:
        rows = rows.filter(state=state)
    items, following = page(rows, after=after, limit=limit)
    return {"items": items, "next": following}


@deliveries.get("/{slug:code}", auth=READ, response=WholeDelivery, url_name="delivery")
def read_delivery(request: HttpRequest, code: str) -> OutgoingDelivery:
    """One delivery, with what is sent and each try."""
    return _delivery(caller_of(request), code)


@deliveries.post("/{slug:code}/resend", auth=WRITE, response=DeliveryOut, url_name="delivery_resend")
def resend_delivery(request: HttpRequest, code: str) -> OutgoingDelivery:
    """Sends it again, from the first try on, with the same `webhook-id`."""
    caller = caller_of(request)
    if not delivery_actions.resend(_delivery(caller, code), by=caller.actor):
        raise Problem("conflict", "It is waiting to be sent already, or is held until its endpoint is turned on.")
    return _delivery(caller, code)


def _deliveries(caller: Caller) -> "QuerySet[OutgoingDelivery]":
    rows = OutgoingDelivery.objects.filter(endpoint__in=caller.webhook_endpoints.order_by())
    return rows.select_related("message", "endpoint__customer")


def _delivery(caller: Caller, code: str) -> OutgoingDelivery:
    found = _deliveries(caller).filter(code=code).first()
    if found is None:
        raise Problem("not-found", NOT_FOUND)
    return found


def _problem(invalid: endpoints.Invalid) -> Problem:
    errors = [{"field": f"body.{invalid.field}", "detail": str(invalid)}]
    return Problem("invalid", "Change the fields that `errors` names.", errors=errors)
