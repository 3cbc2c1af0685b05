"""A client of the stand-in and of its control API."""

from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests

CONNECT, EXCHANGE = "integration/SnapInspectConnect", "integration/ExchangeToken"
REDIRECT_URI = "http://localhost:8000/connect/callback/"
REGISTERED: dict[str, Any] = {
    "client_id": "stand-in-app",
    "client_secret": "stand-in-secret",
    "redirect_uri": REDIRECT_URI,
}
ASKED = {"response_type": "code", "client_id": "stand-in-app", "redirect_uri": REDIRECT_URI, "state": "s1+/="}
PREFIX = "sandbox-"
DEADLINE = 60  # seconds; nothing here takes that long


class SandboxClient:
    """A client of the stand-in at this URL; as a context manager it closes its connections at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str, token: str = "", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.http.get(self.url + path, headers=headers, timeout=DEADLINE, allow_redirects=False, **options)

    def post(self, path: str, data: Any, **options: Any) -> requests.Response:
        return self.http.post(self.url + path, data=data, timeout=DEADLINE, allow_redirects=False, **options)

    def control(self, method: str, operation: str, /, **settings: Any) -> Any:
        """The answer of the control API, which must be 200."""
        answer = self.http.request(
            method,
            f"{self.url}control/{operation}",
            params=settings if method == "GET" else None,
            json=settings if method == "POST" else None,
            timeout=DEADLINE,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def grant(self, account: int = 501) -> dict[str, str]:
        pair: dict[str, str] = self.control("POST", "grant", account=account)
        return pair

    def fault(self, path: str, /, **settings: Any) -> None:
        self.control("POST", "faults", path=path, **settings)

    def decide(self, decision: str = "allow", **changes: str) -> requests.Response:
        return self.post(CONNECT, {**ASKED, "account": "501", "decision": decision, **changes})

    def exchange(self, refresh_token: str, **options: Any) -> requests.Response:
        return self.post(EXCHANGE, form(refresh_token), **options)

    def live(self) -> set[str]:
        """The values of all live tokens."""
        return {token["token"] for token in self.control("GET", "tokens")["tokens"] if token["live"]}


def form(refresh_token: str) -> dict[str, str]:
    return {**ASKED, "client_secret": "stand-in-secret", "refresh_token": refresh_token}


def broken(fields: dict[str, str], name: str, how: str) -> list[tuple[str, str]]:
    """The same fields with one of them missing, empty, given twice or wrong."""
    value = fields[name]
    instead = {"missing": [], "empty": [""], "twice": [value, value], "wrong": [f"{value}x"]}[how]
    return [field for field in fields.items() if field[0] != name] + [(name, text) for text in instead]


def breakages(fields: dict[str, str]) -> list[tuple[str, str]]:
    """All ways to break one field. Any state is accepted, so it cannot be wrong."""
    ways = [(name, how) for name in fields for how in ("missing", "empty", "twice", "wrong")]
    return [way for way in ways if way != ("state", "wrong")]


def returned(answer: requests.Response) -> list[tuple[str, str]]:
    """The parameters of the redirect back to the application."""
    assert answer.status_code == 302, answer.text
    assert answer.headers["Location"].startswith(f"{REDIRECT_URI}?")
    return parse_qsl(urlsplit(answer.headers["Location"]).query, keep_blank_values=True)
