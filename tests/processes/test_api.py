"""The API under gunicorn: what its test client does not send, and what gunicorn refuses in an answer."""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from connectapp import development
from tests.settings import SENTINEL
from tests.support.running_app import ROOT, RunningApp
from tests.support.wait import wait_until

pytestmark = pytest.mark.processes
DOCUMENTED = "http://localhost:8000"  # where `make run` has Connect


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
    long = "a" * 300_000
    running_app.sandbox.fault("/long", status=200, headers={"Content-Type": "text/plain"}, body=long)
    assert session.get(f"{proxy}long", timeout=30).text == long
    cut = {"Content-Type": "text/plain", "Content-Length": "400000", "Connection": "close"}
    running_app.sandbox.fault("/long", status=200, headers=cut, body=long)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(f"{proxy}long", timeout=30)
    assert "cut off while it was passed on (cut)" in running_app.log("web")
    assert "ConnectionResetError" not in running_app.log("web")
    for path in ("..%2f..%2fadmin", "%2e%2e/x", "user?access_token=x"):
        answer = session.get(proxy + path, timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), path
    assert session.get(f"{api}events?limit=100", timeout=30).status_code == 200
    assert SENTINEL not in user.text + str(user.headers) + made.text
    assert key not in running_app.log("web")


def allow(app: RunningApp, address: str) -> None:
    """What a person does at the hosted Connect page."""
    person = app.visitor()
    path = urlsplit(address).path
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', person.get(path).text)
    assert token is not None
    leave = person.post(path, token=token[1], allow_redirects=False)
    assert person.open_callback(app.sandbox.decide(leave.headers["Location"])).status_code == 303


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing (apt-get install curl)")
def test_every_line_of_the_documentation_works_as_it_stands(running_app: RunningApp, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = [
        block.replace(DOCUMENTED, running_app.url.rstrip("/")) for block in re.findall(r"```sh\n(.*?)```", text, re.S)
    ]
    scopes = [word for scope in development.PRODUCT_SCOPES for word in ("--scope", scope)]
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "product_key").write_text(running_app.manage("create_api_key", "--name", "tests", *scopes))

    def run(*lines: str) -> list[str]:
        # A status that is no success ends the script.
        script = 'set -eu\ncurl() { command curl -fsS "$@" && echo; }\n' + "\n".join(lines)
        finished = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout.splitlines()

    begin, *rest = blocks
    allow(running_app, json.loads(run(begin)[-1])["url"])
    wait_until(lambda: running_app.rows("SELECT state FROM integrations_connection") == [("connected",)])
    answers = [json.loads(line) for line in run(begin.splitlines()[0], *rest)]
    assert len(answers) == sum(line.startswith("curl ") for block in rest for line in block.splitlines())
    assert any("Harbour Street" in str(answer.get("inspections")) for answer in answers)


def exchange(port: int, raw: bytes) -> bytes:
    """What the server answers to these bytes, until it closes the connection; empty if it says nothing."""
    with socket.create_connection(("localhost", port), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        try:
            return b"".join(iter(lambda: connection.recv(65_536), b""))
        except ConnectionResetError:
            return b""


def test_what_no_client_would_send_is_refused_or_answered_and_never_a_crash(running_app: RunningApp) -> None:
    key = running_app.manage("create_api_key", "--name", "tests", "--scope", "customers").strip().encode()
    end, address = b"\r\n", b"/api/v1/customers"
    head = b"Host: localhost\r\nConnection: close\r\nAuthorization: Bearer " + key + end
    get = b"GET " + address + b" HTTP/1.1\r\n" + head
    post = b"POST " + address + b" HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\n"
    odd_headers = (
        *(b"X-Odd: a\0b", b"X-Odd: \xff\xfe", b"X-Odd : a", b": a", b"X-Odd: a\r\n b", b"X-Odd: " + b"x" * 100_000),
        *(b"X: a\r\n" * 500 + b"X: b", b"Authorization: Bearer two", b"Cookie: sessionid=\0; csrftoken=\xff"),
        *(b"Content-Length: 5", b"Content-Length: +5\r\n\r\nhello", b"Expect: 100-continue", b"Content-Type: \xff"),
    )
    odd_bodies = (
        *(b'Content-Length: 900\r\n\r\n{"name":', b"Content-Length: 2\r\n\r\n{}trailing", b"\r\n{}"),
        *(b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    )
    odd_addresses = (
        *(
            b"/api/v1/customers/\xff\xfe",
            b"/api/v1/customers?\xff=\xfe",
            b"/api/v1/customers/%00%ff/../..",
            b"*",
            b"x:0",
        ),
        *(b"//api/v1/customers", b"http://evil.example/api/v1/customers", b"/api/v1/customers?after=" + b"a" * 50_000),
    )
    odd_lines = (b"get / HTTP/1.1", b"GET / HTTP/9.9", b"GET /", b"\0" * 500, b"", b"GET " * 5000)
    for raw in (
        *(get + odd + end + end for odd in odd_headers),
        *(post + odd for odd in odd_bodies),
        *(get.replace(address, odd) + end for odd in odd_addresses),
        *(odd + end + head + end for odd in odd_lines),
        get.replace(b"localhost", b"evil.example") + end,
        get.replace(b"Host: localhost\r\n", b"") + end,
    ):
        answer = exchange(running_app.port, raw)
        status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
        assert status is None or int(status[1]) in {100, 200, *range(400, 500)}, (raw[:300], answer[:300])
        assert key not in answer
    assert exchange(running_app.port, get + end).startswith(b"HTTP/1.1 200")
    assert key.decode() not in running_app.log("web")
