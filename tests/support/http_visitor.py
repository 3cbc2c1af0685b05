"""A browser without JavaScript, over HTTP to a running app."""

import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from tests.support.clients import PAT
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.running_app import RunningApp


class Visitor:
    """Keeps cookies, reads forms, presses buttons."""

    def __init__(self, app: "RunningApp") -> None:
        self.app = app
        self.http = app.session()
        self.http.hooks["response"] = self._keep
        self.http.mount("http://", HTTPAdapter(pool_maxsize=64))
        self.code = ""

    def sign_up(self, company: str = "Acme Property", email: str = "") -> "Visitor":
        page = self.post(
            "accounts/signup/",
            {"email": email or f"{secrets.token_hex(5)}@example.com", "password1": "correct horse", "company": company},
        )
        assert page.status_code == 200, page.status_code
        self.code = urlsplit(page.url).path.split("/")[2]
        return self

    def get(self, path: str = "", **options: Any) -> requests.Response:
        return self.http.get(self.app.url + path.lstrip("/"), timeout=60, **options)

    def post(
        self, path: str, fields: dict[str, str] | None = None, *, token: str = "", **options: Any
    ) -> requests.Response:
        """Sends a form with its CSRF token, which is taken from the page of that form or the visitor's own page."""
        token = token or self.csrf_token(path)
        return self.http.post(
            self.app.url + path.lstrip("/"),
            data={**(fields or {}), "csrfmiddlewaretoken": token},
            headers={"Referer": self.app.url},
            timeout=60,
            **options,
        )

    def dashboard(self) -> str:
        return self.get(f"c/{self.code}/").text

    def badges(self) -> list[str]:
        return re.findall(r"data-badge[^>]*>([^<]*)<", self.dashboard())

    def start_connect(self) -> str:
        answer = self.post(f"c/{self.code}/connect/", allow_redirects=False)
        assert answer.status_code == 302, answer.status_code
        return answer.headers["Location"]

    def open_callback(self, address: str) -> requests.Response:
        return self.http.get(address, allow_redirects=False, timeout=60)

    def connect(self, account: str = PAT) -> "Visitor":
        answer = self.open_callback(self.app.sandbox.decide(self.start_connect(), account=account))
        assert answer.status_code == 303, answer.status_code
        self.wait_for("Connected")
        return self

    def wait_for(self, badge: str) -> None:
        wait_until(lambda: badge in self.badges())

    def _keep(self, answer: requests.Response, **_: Any) -> None:
        """Writes every page to the app's folder, for the secret scan."""
        if answer.url.startswith(self.app.url):
            with (self.app.folder / "pages.log").open("a") as pages:
                print(answer.status_code, dict(answer.headers), answer.text, file=pages)

    def csrf_token(self, path: str) -> str:
        for page in (path, f"c/{self.code}/", "accounts/login/"):
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(page).text)
            if found:
                return found[1]
        raise AssertionError(f"No form found for {path}")
