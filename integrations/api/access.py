"""Who may: the key of a request, its scope, and what it reaches. No cookie and no session counts here."""

import time

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from ninja.security import HttpBearer

from accounts.models import Customer
from integrations.api import keys
from integrations.api.problems import NOT_FOUND, Problem
from integrations.models import ApiKey, Connection, Event, Scope, SealedPair, WebhookEndpoint


class Caller:
    """What the key of this request reaches: everything, or one customer's."""

    def __init__(self, key: ApiKey) -> None:
        self.key = key

    @property
    def actor(self) -> str:
        return keys.actor_name(self.key)

    @property
    def customers(self) -> "QuerySet[Customer]":
        mine = {"pk": self.key.customer_id} if self.key.customer_id else {}
        return Customer.objects.filter(**mine).order_by("pk")

    @property
    def connections(self) -> "QuerySet[Connection]":
        mine = {"customer": self.key.customer_id} if self.key.customer_id else {}
        return Connection.objects.filter(**mine).select_related("customer").order_by("pk")

    @property
    def events(self) -> "QuerySet[Event]":
        mine = {"connection__customer": self.key.customer_id} if self.key.customer_id else {}
        return Event.objects.filter(**mine).select_related("connection").order_by("pk")

    @property
    def webhook_endpoints(self) -> "QuerySet[WebhookEndpoint]":
        mine = {"customer": self.key.customer_id} if self.key.customer_id else {}
        return WebhookEndpoint.objects.filter(**mine).select_related("customer").order_by("pk")

    def customer(self, code: str) -> Customer:
        """The customer with this code. Raises Problem (404)."""
        found = self.customers.filter(code=code).first()
        if found is None:
            raise Problem("not-found", NOT_FOUND)
        return found

    def connection(self, code: str) -> Connection:
        """The connection with this code. Raises Problem (404)."""
        found = self.connections.filter(code=code).first()
        if found is None:
            raise Problem("not-found", NOT_FOUND)
        return found

    def connection_to_call(self, code: str) -> tuple[Connection, SealedPair | None]:
        """Like `connection`, with its pair if that was read, too, and the columns alone that every call needs."""
        found = self.key.called
        if found is None or found[0].code != code:
            raise Problem("not-found", NOT_FOUND)
        return found

    def webhook_endpoint(self, code: str) -> WebhookEndpoint:
        """The endpoint with this code. Raises Problem (404)."""
        found = self.webhook_endpoints.filter(code=code).first()
        if found is None:
            raise Problem("not-found", NOT_FOUND)
        return found

    def event(self, code: str) -> Event:
        """The event with this code. Raises Problem (404)."""
        found = self.events.filter(code=code).first()
        if found is None:
            raise Problem("not-found", NOT_FOUND)
        return found


class ApiKeyBearer(HttpBearer):
    """Lets requests in whose key has this scope; None: whatever the key's scopes are, the view asks for one."""

    def __init__(self, scope: Scope | None) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest, *, to_call: str = "") -> Caller:
        # In place of ninja's, which logs unreadable headers.
        kind, _, plain = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        key = self.authenticate(request, plain if kind.lower() == "bearer" else "", to_call=to_call)
        caller = Caller(key)
        request.api_caller = caller  # type: ignore[attr-defined]
        _check_rate(key)
        if self.scope is not None:
            require(caller, self.scope)
        return caller

    def authenticate(self, request: HttpRequest, token: str, *, to_call: str = "") -> ApiKey:
        """The valid key. Raises Problem with the same words whatever is wrong with it."""
        key = keys.find(token, to_call=to_call)
        if key is None:
            raise Problem(
                "unknown-key",
                "Send a valid key in the header “Authorization: Bearer cok_…”. It may be mistyped, expired or revoked.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key


def require(caller: Caller, scope: Scope) -> None:
    """Raises Problem (403) unless the key has this scope."""
    if scope.value not in caller.key.scopes:
        raise Problem("missing-scope", f"This needs a key with the scope {scope.value}.", scope=scope.value)


def caller_of(request: HttpRequest) -> Caller:
    """The caller that ApiKeyBearer has let in."""
    caller: Caller = request.api_caller  # type: ignore[attr-defined]
    return caller


def rate_limit_headers(key: ApiKey) -> dict[str, str]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
    left = max(settings.API_REQUESTS_A_MINUTE - key.requests, 0)
    return {
        "RateLimit-Policy": f'"minute";q={settings.API_REQUESTS_A_MINUTE};w={keys.MINUTE}',
        "RateLimit": f'"minute";r={left};t={_seconds_left()}',
    }


def _check_rate(key: ApiKey) -> None:
    """Raises Problem (429) when the key has had its requests of this minute before this one."""
    if key.requests > settings.API_REQUESTS_A_MINUTE:
        raise Problem(
            "too-many-requests",
            f"This key may make {settings.API_REQUESTS_A_MINUTE} requests a minute. Wait as Retry-After says.",
            headers={"Retry-After": str(_seconds_left())},
        )


def _seconds_left() -> int:
    return keys.MINUTE - int(time.time()) % keys.MINUTE
