"""Which tokens open what: grants, exchanges, personal access tokens.

Documented: an exchange replaces both tokens, and an access token lives until then. Assumed: *strict* refuses a
used refresh token for ever; *grace* honours the one just used once more, in case the answer was lost.
"""

import base64
import hashlib
import itertools
import secrets
import threading
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from integrations.sandbox.records import Records

Kind = Literal["access", "refresh", "personal"]
Mode = Literal["strict", "grace"]
TOKEN_BYTES = 36


@dataclass(frozen=True)
class Token:
    """One token. `status`: *live*, *used* (a refresh token that bought the present pair) or *dead*.

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
    """The two tokens a customer's Allow, or an exchange, hands out."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


def fingerprint(value: str) -> str:
    """Six characters by which people can tell tokens apart and that open nothing."""
    return hashlib.sha256(value.encode()).hexdigest()[:6]


class Tokens:
    """Every token ever minted, by its text. Each change is on disk before anyone hears of it."""

    KIND = "token"

    def __init__(self, records: Records, *, prefix: str, mode: Mode) -> None:
        self.mode: Mode = mode
        self._prefix = prefix
        self._records = records
        self._lock = threading.Lock()
        self._by_value: dict[str, Token] = {}
        # Texts of a grant's tokens that are not dead: an exchange need not look through all tokens ever minted.
        self._of_grant: dict[int, set[str]] = defaultdict(set)
        for record in records.load(self.KIND):
            self._remember(Token(**record))
        self._serials = itertools.count(1 + max((token.serial for token in self.all()), default=0))

    def all(self) -> list[Token]:
        return list(self._by_value.values())

    def find(self, value: str) -> Token | None:
        """The token with this text, dead or alive."""
        return self._by_value.get(value)

    def opening(self, value: str) -> Token | None:
        """The token with this text if the API accepts it."""
        token = self._by_value.get(value)
        return token if token and token.status == "live" and token.kind != "refresh" else None

    def grant(self, account: int, *, length: int | None = None) -> Pair:
        """A first pair for this account, as after Allow. `length`: characters of each token."""
        with self._lock:
            access, refresh = self._mint_pair(account, next(self._serials), length)
            self._keep(access, refresh)
        return Pair(access.value, refresh.value)

    def exchange(self, refresh_token: str, *, length: int | None = None) -> Pair | None:
        """A new pair in place of the old one, or None for a refresh token that is not honoured.

        The old access token is dead when the new one exists; there is no moment with both or with neither.
        """
        with self._lock:
            old = self._by_value.get(refresh_token)
            if old is None or old.kind != "refresh" or old.status == "dead":
                return None
            if old.status == "used" and self.mode == "strict":
                return None
            spent = replace(old, status="used" if old.status == "live" else "dead")
            others = [self._by_value[value] for value in self._of_grant[old.grant] if value != old.value]
            access, refresh = self._mint_pair(old.account, old.grant, length)
            self._keep(*(replace(other, status="dead") for other in others), spent, access, refresh)
        return Pair(access.value, refresh.value)

    def issue_personal(self, account: int, *, webhook_url: str = "") -> Token:
        """A personal access token: no refresh token, no exchange, lives until it is revoked."""
        with self._lock:
            token = replace(self._mint("personal", account, next(self._serials), None), webhook_url=webhook_url)
            self._keep(token)
        return token

    def personal(self) -> list[Token]:
        """Personal access tokens that are not revoked."""
        return [token for token in self.all() if token.kind == "personal" and token.status == "live"]

    def revoke(self, *values: str) -> None:
        """Ends exactly these tokens; the other half of a pair stays as it is."""
        with self._lock:
            self._keep(*(replace(self._by_value[value], status="dead") for value in values))

    def reset(self) -> None:
        """Forgets every token."""
        with self._lock:
            self._records.clear(self.KIND)
            self._by_value.clear()
            self._of_grant.clear()

    def _mint(self, kind: Kind, account: int, grant: int, length: int | None) -> Token:
        # Standard base64 on purpose: "+" and "/" must survive the query string and the form.
        value = self._prefix + base64.b64encode(secrets.token_bytes(TOKEN_BYTES)).decode()
        if length is not None:
            padding = base64.b64encode(secrets.token_bytes(length)).decode()
            value = (value + padding)[: max(length, len(value))]
        return Token(value, kind, account, next(self._serials), grant)

    def _mint_pair(self, account: int, grant: int, length: int | None) -> tuple[Token, Token]:
        return self._mint("access", account, grant, length), self._mint("refresh", account, grant, length)

    def _keep(self, *tokens: Token) -> None:
        self._records.save(self.KIND, {token.value: asdict(token) for token in tokens})
        for token in tokens:
            self._remember(token)

    def _remember(self, token: Token) -> None:
        self._by_value[token.value] = token
        if token.status == "dead":
            self._of_grant[token.grant].discard(token.value)
        else:
            self._of_grant[token.grant].add(token.value)
