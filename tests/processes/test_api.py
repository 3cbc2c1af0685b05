"""The API under gunicorn: what its test client does not send, and what gunicorn refuses in an answer."""

import pytest
import requests

from tests.settings import SENTINEL
from tests.support.running_app import RunningApp

pytestmark = pytest.mark.processes


def test_calls_are_forwarded_and_events_followed_with_a_key_alone(running_app: RunningApp) -> None:
    visitor = running_app.visitor().sign_up()
    visitor.connect()
    scopes = [
        word
        for scope in ("connections:read", "events:read", "proxy:read", "proxy:write")
        for word in ("--scope", scope)
    ]
    key = running_app.manage("create_api_key", "--name", "tests", *scopes).split()[-1]
    api, session = f"{running_app.url}api/v1/", requests.Session()
    session.headers["Authorization"] = f"Bearer {key}"
    (connection,) = session.get(f"{api}connections?state=connected", timeout=30).json()["items"]
    proxy = f"{api}connections/{connection['code']}/proxy/"

    user = session.get(f"{proxy}user", timeout=30)
    assert (user.status_code, user.headers["Connect-Attempts"]) == (200, "1"), user.text
    assert connection["company_id"] in user.text
    assert session.head(f"{proxy}user", timeout=30).headers["Content-Length"] == str(len(user.content))

    running_app.sandbox.fault(
        "/things", status=201, headers={"X-Odd": "\u00e9", "Set-Cookie": "a=b", "ETag": '"1"'}, body="made"
    )
    made = session.post(f"{proxy}things", data=b"x" * 900_000, headers={"Content-Type": "image/png"}, timeout=30)
    assert (made.status_code, made.content, made.headers["ETag"]) == (201, b"made", '"1"'), made.text
    assert not made.cookies
    for refused, status in ((b"x" * (10 * 2**20 + 1), 413), (iter([b"a", b"b"]), 411)):
        answer = requests.post(f"{proxy}things", data=refused, headers=dict(session.headers), timeout=30)
        assert answer.status_code == status, answer.text
    for path in ("..%2f..%2fadmin", "%2e%2e/x", "user?access_token=x"):
        answer = session.get(proxy + path, timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), path
    assert session.get(f"{api}events?limit=100", timeout=30).status_code == 200
    assert SENTINEL not in user.text + str(user.headers) + made.text
    assert key not in running_app.log("web")
