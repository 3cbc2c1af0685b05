"""Endpoints: making, changing and pausing them; their secrets and custom headers, which are sealed like tokens.

A signing secret is shown once, when it is made. While a new one replaces it, both sign for OLD_SECRET_SIGNS.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from accounts.models import Customer
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import sender
from integrations.outgoing.message_types import TYPES
from integrations.outgoing.signatures import new_secret
from integrations.tokens import encryption
from integrations.tokens.encryption import CannotUnseal, EndpointKeyContext

OLD_SECRET_SIGNS = timedelta(hours=24)
MOST_ENDPOINTS = 20  # of a customer, or of the deployment
# A transaction that began before an endpoint was deleted may still write a delivery for it.
ERASE_AFTER = timedelta(minutes=1)
ERASED_AT_ONCE = 500
LONGEST_HEADER_NAME, LONGEST_HEADER_VALUE = 100, 1000
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# What the request needs itself, and what is about its connection (RFC 9110 section 7.6.1).
_OURS = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
})  # fmt: skip
_OUR_PREFIXES = ("webhook-", "proxy-")


class Invalid(ValueError):
    """A value that an endpoint cannot have. field: its name. The text is a sentence without the value."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def check(values: Mapping[str, Any]) -> None:
    """Raises Invalid for the first of `url`, `types` and `headers` that cannot be; any of them may be missing."""
    if "url" in values:
        if len(values["url"]) > WebhookEndpoint.LONGEST_URL:
            raise Invalid("url", f"A URL has {WebhookEndpoint.LONGEST_URL} characters at most.")
        try:
            sender.check_url(values["url"])
        except sender.NotSent as refused:
            raise Invalid("url", str(refused)) from None
    if "types" in values and not values["types"]:
        raise Invalid("types", "Choose at least one type.")
    if not set(values.get("types", ())) <= {*TYPES, WebhookEndpoint.EVERY_TYPE}:
        raise Invalid("types", f"Types are {WebhookEndpoint.EVERY_TYPE} for all, or: {', '.join(TYPES)}.")
    headers = values.get("headers", {})
    if len(headers) > WebhookEndpoint.MOST_HEADERS:
        raise Invalid("headers", f"There are {WebhookEndpoint.MOST_HEADERS} custom headers at most.")
    if len({name.lower() for name in headers}) < len(headers):
        raise Invalid("headers", "A header is named twice.")
    for name, value in headers.items():
        if len(name) > LONGEST_HEADER_NAME or not _HEADER_NAME.fullmatch(name):
            raise Invalid("headers", "A header’s name consists of letters, digits and hyphens.")
        if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
            raise Invalid("headers", "One of these headers is set by this app.")
        if len(value) > LONGEST_HEADER_VALUE or not _HEADER_VALUE.fullmatch(value):
            raise Invalid(
                "headers",
                f"A header’s value has 1 to {LONGEST_HEADER_VALUE} visible ASCII characters.",
            )


def create(
    *,
    url: str,
    types: Iterable[str],
    by: audit.Actor,
    customer: Customer | None,
    description: str = "",
    headers: Mapping[str, str] | None = None,
) -> tuple[WebhookEndpoint, str]:
    """A new endpoint that is on, and its signing secret.

    customer: whose messages it gets; None for those of all customers. types: names of TYPES, or EVERY_TYPE. Raises
    Invalid.
    """
    chosen = sorted(set(types))
    check({"url": url, "types": chosen, "headers": headers or {}})
    endpoint = WebhookEndpoint(
        customer=customer, url=url, types=chosen, description=description, created_by=audit.person(by)
    )
    secret = new_secret()
    _seal(endpoint, secret=secret, old_secret="", headers=dict(headers or {}))
    with transaction.atomic():
        if WebhookEndpoint.objects.filter(customer=customer).count() >= MOST_ENDPOINTS:
            raise Invalid("url", f"There are {MOST_ENDPOINTS} endpoints already. Delete one first.")
        endpoint.save()
        _record("made", endpoint, by)
    return endpoint, secret


def change(endpoint: WebhookEndpoint, values: Mapping[str, Any], *, by: audit.Actor) -> None:
    """Replaces those of `url`, `types`, `headers` and `description` that are given. Raises Invalid, CannotUnseal.

    What the server behind another URL has answered is no reason to wait any more, nor to switch the endpoint off.
    """
    check(values)
    changes = {name: values[name] for name in ("url", "description") if name in values}
    if "types" in values:
        changes["types"] = sorted(set(values["types"]))
    with transaction.atomic():
        locked = _locked(endpoint)
        if changes.get("url", locked.url) != locked.url:
            changes |= {"wait_until": None, "waits": 0, "failing_since": None}
        if "headers" in values:
            secret, old_secret, _ = _unsealed(locked)
            changes |= _seal(locked, secret=secret, old_secret=old_secret, headers=dict(values["headers"]))
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**changes)
        _record("changed", endpoint, by, fields=" ".join(sorted(values)))
    endpoint.refresh_from_db()


def replace_secret(endpoint: WebhookEndpoint, *, by: audit.Actor) -> str:
    """A new signing secret. The one before signs beside it for OLD_SECRET_SIGNS, an older one ends now.

    When no key opens the old secret, it and the custom headers are gone.
    """
    secret = new_secret()
    with transaction.atomic():
        locked = _locked(endpoint)
        try:
            old_secret, _, headers = _unsealed(locked)
        except CannotUnseal:
            old_secret, headers = "", {}
        changes = _seal(locked, secret=secret, old_secret=old_secret, headers=headers)
        until = Now() + OLD_SECRET_SIGNS if old_secret else None
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(old_secret_until=until, **changes)
        _record("secret_replaced", endpoint, by)
    endpoint.refresh_from_db()
    return secret


def signing_secrets(endpoint: WebhookEndpoint) -> list[str]:
    """The secrets that sign now, the newest first. Raises CannotUnseal."""
    secret, old_secret, _ = _unsealed(endpoint)
    until = endpoint.old_secret_until
    return [secret, old_secret] if old_secret and until is not None and until > timezone.now() else [secret]


def custom_headers(endpoint: WebhookEndpoint) -> dict[str, str]:
    """The headers that its requests carry beside ours. Raises CannotUnseal."""
    return _unsealed(endpoint)[2]


def pause(endpoint: WebhookEndpoint, *, by: audit.Actor) -> bool:
    """Stops sending; what is to be sent waits. Whether it was on."""
    with transaction.atomic():
        on = WebhookEndpoint.objects.on().filter(pk=endpoint.pk)
        paused = on.update(state=WebhookEndpoint.State.PAUSED, state_since=Now()) == 1
        if paused:
            _record("paused", endpoint, by)
    return paused


def switch_on(endpoint: WebhookEndpoint, *, by: audit.Actor) -> bool:
    """Sends again what waits and what comes; whether it was not on.

    What came while it was switched off stays unsent until somebody resends it.
    """
    with transaction.atomic():
        others = WebhookEndpoint.objects.exclude(state=WebhookEndpoint.State.ON).filter(pk=endpoint.pk)
        switched = (
            others.exclude(key_id="").update(
                state=WebhookEndpoint.State.ON,
                off_reason="",
                state_since=Now(),
                failing_since=None,
                wait_until=None,
                waits=0,
                notice_at=None,
                due_at=Now(),
            )
            == 1
        )
        if switched:
            _record("switched_on", endpoint, by)
    return switched


def delete(endpoint: WebhookEndpoint, *, by: audit.Actor) -> None:
    """Deletes it with its deliveries: nothing more is sent there, and nobody sees it any more.

    Only its secrets are erased now. Workers delete the rows by `erase`: there may be very many.
    """
    with transaction.atomic():
        deleted = WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
            state=WebhookEndpoint.State.OFF,
            off_reason=WebhookEndpoint.OffReason.DELETED,
            state_since=Now(),
            due_at=None,
            notice_at=None,
            key_id="",
            sealed_secret=b"",
            sealed_old_secret=b"",
            sealed_headers=b"",
            header_names=[],
        )
        if deleted:
            _record("deleted", endpoint, by)


def to_erase() -> QuerySet[WebhookEndpoint]:
    """Endpoints that were deleted, and whose rows are still there."""
    deleted = WebhookEndpoint.with_deleted.filter(off_reason=WebhookEndpoint.OffReason.DELETED)
    return deleted.filter(state_since__lt=Now() - ERASE_AFTER).order_by("pk")


def erase(pk: int) -> None:
    """Deletes some deliveries of a deleted endpoint, with their tries; the endpoint when it has no other."""
    rows = OutgoingDelivery.objects.filter(endpoint=pk, endpoint__in=to_erase().order_by())
    found = list(rows.order_by("pk").values_list("pk", flat=True)[:ERASED_AT_ONCE])
    with transaction.atomic():
        OutgoingDelivery.objects.filter(pk__in=found).delete()
        if len(found) < ERASED_AT_ONCE:
            to_erase().filter(pk=pk).delete()


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """The row as it is, held until the end of the transaction (SQLite has one writer anyway)."""
    return WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)


def _unsealed(endpoint: WebhookEndpoint) -> tuple[str, str, dict[str, str]]:
    """The secret, the one that it replaces or "", and the custom headers. Raises CannotUnseal."""
    signing = EndpointKeyContext(endpoint.code, "signing")
    secret = encryption.unseal(endpoint.sealed_secret, signing)
    old_secret = encryption.unseal(endpoint.sealed_old_secret, signing) if endpoint.sealed_old_secret else ""
    headers: dict[str, str] = {}
    if endpoint.sealed_headers:
        headers = json.loads(encryption.unseal(endpoint.sealed_headers, EndpointKeyContext(endpoint.code, "headers")))
    return secret, old_secret, headers


def _seal(endpoint: WebhookEndpoint, *, secret: str, old_secret: str, headers: dict[str, str]) -> dict[str, Any]:
    """Sets the columns of the row, all sealed by the newest key, and returns them."""
    signing = EndpointKeyContext(endpoint.code, "signing")
    sealed = encryption.seal(secret, signing)
    columns = {
        "sealed_secret": sealed.ciphertext,
        "sealed_old_secret": encryption.seal(old_secret, signing).ciphertext if old_secret else b"",
        "sealed_headers": encryption.seal(json.dumps(headers), EndpointKeyContext(endpoint.code, "headers")).ciphertext
        if headers
        else b"",
        "header_names": sorted(headers),
        "key_id": sealed.key_id,
    }
    for name, value in columns.items():
        setattr(endpoint, name, value)
    return columns


def _record(what: str, endpoint: WebhookEndpoint, by: audit.Actor, **detail: str) -> None:
    # Not its URL: the path may hold a secret of the receiver's.
    kind = f"webhook_endpoint.{what}"
    audit.record(kind, customer=endpoint.customer, actor=by, endpoint=endpoint.code, **detail)
