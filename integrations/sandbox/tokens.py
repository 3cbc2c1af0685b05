"""Tokens: grants, exchanges, personal access tokens.

Documented: an exchange replaces both tokens, and an access token lives until then. Assumed: in *strict* mode a used
refresh token is refused; in *grace* mode the one used last is accepted once more, in case its answer was lost.
"""

import base64
import hashlib
import itertools
import secrets
import threading
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from integrations.sandbox.storage import Storage

Kind = Literal["access", "refresh", "personal"]
TOKEN_BYTES = 36


@dataclass(frozen=True)
class Token:
    """One token. `status`: *live*, *used* (the refresh token of the last exchange) or *dead*.

    Tokens of one grant (one Allow and all its exchanges) share its number.
    """

    value: str = field(repr=False)
    kind: Kind
    account: int
    serial: int
    grant: int
    status: Literal["live", "used", "dead"] = "live"
    webhook_url: str = ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.value)


@dataclass(frozen=True)
class Pair:
    """The two tokens that a grant or an exchange issues."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


def fingerprint(value: str) -> str:
    """Six characters that tell tokens apart without revealing them."""
    return hashlib.sha256(value.encode()).hexdigest()[:6]


class Tokens:
    """All tokens ever issued, by value. A change is stored before it is answered.

    `mode`: *strict* or *grace*. `length`: how many characters new tokens have; 0 for the usual number.
    """

    KIND = "token"

    def __init__(self, storage: Storage, *, prefix: str) -> None:
        self.mode, self.length = "strict", 0
        self._prefix = prefix
        self._storage = storage
        self._lock = threading.Lock()
        self._by_value: dict[str, Token] = {}
        # Values of a grant's tokens that are not dead: an exchange need not search all tokens.
        self._of_grant: dict[int, set[str]] = defaultdict(set)
        for record in storage.load(self.KIND):
            self._remember(Token(**record))
        self._serials = itertools.count(1 + max((token.serial for token in self.all()), default=0))

    def all(self) -> list[Token]:
        return list(self._by_value.values())

    def find(self, value: str) -> Token | None:
        """The token with this value, whatever its status."""
        return self._by_value.get(value)

    def valid(self, value: str) -> Token | None:
        """The token with this value if the API accepts it."""
        token = self._by_value.get(value)
        return token if token and token.status == "live" and token.kind != "refresh" else None

    def grant(self, account: int) -> Pair:
        """The first pair for this account, as after Allow."""
        with self._lock:
            return self._issue_pair(account, next(self._serials))

    def exchange(self, refresh_token: str) -> Pair | None:
        """A new pair in place of the old one, or None for a refresh token that is not accepted.

        The old access token dies in the transaction that stores the new one.
        """
        with self._lock:
            old = self._by_value.get(refresh_token)
            if old is None or old.kind != "refresh" or old.status == "dead":
                return None
            if old.status == "used" and self.mode == "strict":
                return None
            spent = replace(old, status="used" if old.status == "live" else "dead")
            others = [self._by_value[value] for value in self._of_grant[old.grant] if value != old.value]
            return self._issue_pair(old.account, old.grant, spent, *(replace(other, status="dead") for other in others))

    def issue_personal(self, account: int, *, webhook_url: str = "") -> Token:
        """A personal access token: no refresh token, no exchange, lives until it is revoked."""
        with self._lock:
            token = replace(self._new("personal", account, next(self._serials)), webhook_url=webhook_url)
            self._save(token)
        return token

    def personal(self) -> list[Token]:
        """Personal access tokens that are not revoked."""
        return [token for token in self.all() if token.kind == "personal" and token.status == "live"]

    def revoke(self, *values: str) -> None:
        """Ends exactly these tokens; the other half of a pair stays valid."""
        with self._lock:
            self._save(*(replace(self._by_value[value], status="dead") for value in values))

    def reset(self) -> None:
        """Deletes all tokens and restores mode and length."""
        with self._lock:
            self._storage.clear(self.KIND)
            self._by_value.clear()
            self._of_grant.clear()
            self.mode, self.length = "strict", 0

    def _new(self, kind: Kind, account: int, grant: int) -> Token:
        # Standard base64 on purpose: "+" and "/" must survive the query string and the form.
        value = self._prefix + base64.b64encode(secrets.token_bytes(TOKEN_BYTES)).decode()
        if self.length:
            value = (value + base64.b64encode(secrets.token_bytes(self.length)).decode())[: self.length]
        return Token(value, kind, account, next(self._serials), grant)

    def _issue_pair(self, account: int, grant: int, *changed: Token) -> Pair:
        """A new pair, stored together with the tokens that changed."""
        access, refresh = self._new("access", account, grant), self._new("refresh", account, grant)
        self._save(*changed, access, refresh)
        return Pair(access.value, refresh.value)

    def _save(self, *tokens: Token) -> None:
        self._storage.save(self.KIND, {token.value: asdict(token) for token in tokens})
        for token in tokens:
            self._remember(token)

    def _remember(self, token: Token) -> None:
        self._by_value[token.value] = token
        if token.status == "dead":
            self._of_grant[token.grant].discard(token.value)
        else:
            self._of_grant[token.grant].add(token.value)
