"""What docs/deploy.md and deploy/ promise: rows T10, C14 and W9 of the score card, and a stranger's walk.

On PostgreSQL and behind a real nginx whatever the suite runs on, so once is enough.
"""

import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import pytest
import requests
import yaml

from tests.settings import SENTINEL
from tests.support import http_observatory, postgres
from tests.support.deployment import SITE, Deployment
from tests.support.measurements import record
from tests.support.running_app import ROOT
from tests.support.sizes import size
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing (apt-get install nginx)"),
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
DEPLOY = ROOT / "deploy"
SLOW_CONNECTIONS = size(60, 200)


def test_a_stranger_who_follows_the_guide_gets_a_connected_account_and_a_processed_webhook(
    deployment: Deployment,
) -> None:
    visitor = deployment.visitor().sign_up().connect()
    inspection = deployment.sandbox.control("POST", "inspections", {"company": 6847, "title": "Harbour Street 7"})
    body = {"sType": "Create_Inspection", "iInspectionID": inspection["iInspectionID"], "iCompanyID": 6847}
    assert (
        requests.post(_webhook_url(deployment), json=body, verify=str(deployment.certificate), timeout=30).status_code
        == 200
    )

    def processed() -> bool:
        page = visitor.get(f"c/{visitor.code}/events/?q={inspection['iInspectionID']}").text
        return re.findall(r"data-badge[^>]*>([^<]*)<", page) == ["Done"]

    wait_until(processed)
    assert "__Host-sessionid" in visitor.http.cookies
    ready = requests.get(f"{deployment.url}health/ready", verify=str(deployment.certificate), timeout=30)
    assert (ready.status_code, ready.json()["database"]) == (200, "ok")


@pytest.mark.slow
def test_metrics_are_told_to_this_machine_with_the_token_and_leave_no_line(deployment: Deployment) -> None:
    log = deployment.folder / "connect.access.log"
    lines = log.read_text().count("/metrics")

    def ask(**headers: str) -> requests.Response:
        return requests.get(f"{deployment.url}metrics", headers=headers, verify=str(deployment.certificate), timeout=30)

    answer = ask(Authorization=f"Bearer {deployment.machine.settings()['METRICS_TOKEN']}")

    assert (answer.status_code, 'connect_ready{part="database"} 1.0' in answer.text) == (200, True)
    assert ask().status_code == 401
    assert log.read_text().count("/metrics") == lines


def test_C14_over_plain_http_the_proxy_answers_400_and_repeats_nothing(deployment: Deployment) -> None:
    query = f"access_token={SENTINEL}-a&refresh_token={SENTINEL}-r&token_type=Bearer&state=x"

    answer = requests.get(f"{deployment.plain}connect/callback/?{query}", allow_redirects=False, timeout=30)
    page = requests.get(f"{deployment.plain}c/abc/?{query}", allow_redirects=False, timeout=30)

    assert (answer.status_code, "Location" in answer.headers) == (400, False)
    assert (page.status_code, page.headers["Location"]) == (301, "https://localhost/c/abc/")
    assert SENTINEL not in answer.text + str(answer.headers) + str(page.headers)


@pytest.mark.slow
def test_T10_nothing_that_is_sent_through_the_proxy_leaves_a_secret_in_its_logs(deployment: Deployment) -> None:
    query = f"access_token={SENTINEL}-a&refresh_token={SENTINEL}-r&token_type=Bearer&state={SENTINEL}-s"
    paths = [
        f"connect/callback/?{query}", f"connect/callback?{query}", f"connect/?{query}", f"accounts/login/?{query}",
        f"connect/callback/?{query}&long={'x' * 9000}", f"accounts/password/reset/key/{SENTINEL}-key/",
        f"accounts/confirm-email/{SENTINEL}-k/", f"accounts/invitations/{SENTINEL}-i/",
        f"c/abc/connect/links/{SENTINEL}-l/", f"accounts/notifications/stop/{SENTINEL}-n/",
        f"webhooks/snapinspect/{SENTINEL}-webhook-new/", f"webhooks/snapinspect/{SENTINEL}-webhook-new",
    ]  # fmt: skip

    def attack() -> None:
        for path in paths:
            for base in (deployment.url, deployment.plain):
                requests.get(
                    base + path, headers={"Referer": f"{base}?{query}"}, verify=str(deployment.certificate),
                    allow_redirects=False, timeout=30,
                )  # fmt: skip
        _send(deployment, f"GET /connect/callback/?{query}\x01 HTTP/9.9\r\n\r\n".encode())
        _send(deployment, f"POST /webhooks/snapinspect/{SENTINEL}-webhook-new/ HTTP/1.1\r\nHost: x\r\n"
              "Content-Length: 99999999\r\n\r\n".encode())  # fmt: skip

    attack()
    with deployment.without_web():
        attack()  # nginx has nobody to ask now, and would say so with the whole address

    logs = [deployment.folder / name for name in ("connect.access.log", "connect.error.log", "nginx.log")]
    hits = sum(path.read_text(errors="replace").count(SENTINEL) for path in logs)
    lines = sum(len(path.read_text(errors="replace").splitlines()) for path in logs)
    record("T10", "tokens and secrets through the shipped proxy, the app up and down", f"{hits} hits in its logs")
    assert (hits, lines > 2 * len(paths)) == (0, True)
    assert "502" in logs[0].read_text()


def test_H3_what_the_deployment_sets_belongs_to_this_host_and_https_alone(deployment: Deployment) -> None:
    answers: list[requests.Response] = []
    visitor = deployment.visitor()
    visitor.http.hooks["response"] = lambda answer, **_: answers.append(answer)
    visitor.sign_up()

    lines = [line for answer in answers for line in answer.raw.headers.getlist("Set-Cookie")]
    parts = [{part.strip().lower() for part in line.split(";")[1:]} for line in lines]
    names = {line.partition("=")[0] for line in lines}
    record("H3", "cookies as set through nginx", f"{', '.join(sorted(names))}: Secure, HttpOnly, Lax, no Domain")
    assert names == {"__Host-sessionid", "__Host-csrftoken", "__Host-known-browser"}
    for line, attributes in zip(lines, parts, strict=True):
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes, line.partition("=")[0]
        assert not any(attribute.startswith("domain") for attribute in attributes)


@pytest.mark.slow
def test_H2_the_observatory_gives_every_page_full_points(deployment: Deployment) -> None:
    visitor = deployment.visitor().sign_up()
    scores = {}
    for path in (
        "",
        "accounts/login/",
        "accounts/signup/",
        f"c/{visitor.code}/",
        f"c/{visitor.code}/events/",
        "nowhere/",
    ):
        plain = requests.get(deployment.plain + path, allow_redirects=False, timeout=30)
        scores[path], rules = http_observatory.score(plain, visitor.get(path))
        assert scores[path] >= 100, (path, rules)
        assert "unsafe" not in visitor.get(path).headers["Content-Security-Policy"]

    record("H2", "the Observatory's rules on six pages behind nginx", f"{min(scores.values())} points or more")


@pytest.mark.slow
def test_W9_ten_megabytes_are_refused_and_slow_senders_keep_nobody_waiting(deployment: Deployment) -> None:
    address = _webhook_url(deployment)
    too_much = requests.post(address, b"x" * 10_000_000, verify=str(deployment.certificate), timeout=60)
    head = (f"POST /webhooks/snapinspect/{deployment.webhook_secret}/ HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{").encode()  # fmt: skip

    slow = [_connect(deployment) for _ in range(SLOW_CONNECTIONS)]
    for connection in slow:
        connection.sendall(head)
    with _trickling(slow), requests.Session() as session:
        session.verify = str(deployment.certificate)
        session.trust_env = False
        took, statuses = [], []
        for number in range(200):
            started = time.perf_counter()
            body = {"sType": "Create_Inspection", "iInspectionID": number, "iCompanyID": 1}
            statuses.append(session.post(address, json=body, timeout=60).status_code)
            took.append(time.perf_counter() - started)
    still = sum(_waits(connection) for connection in slow)
    for connection in slow:
        connection.close()

    record("W9", "10 MB", f"{too_much.status_code}")
    record(
        "W9",
        "connections that send a byte a second",
        f"{still} of them; honest deliveries acknowledged within {quantiles(took, n=100)[98]:.2f} s (p99)",
    )
    assert still == SLOW_CONNECTIONS
    assert (too_much.status_code, set(statuses)) == (413, {200})


def test_the_shipped_units_are_what_systemd_understands(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (apt-get install systemd)")
    units = []
    for unit in sorted((DEPLOY / "systemd").iterdir()):
        # It looks for the programs, and there is no /srv/connect here.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text)
        units.append(tmp_path / unit.name.replace("@.", "@1."))

    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)

    complaints = [line for line in verified.stderr.splitlines() if str(tmp_path) in line]
    assert (verified.returncode, complaints) == (0, [])


def test_compose_starts_what_the_procfile_names_and_the_image_holds_what_they_need() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    dockerfile = (DEPLOY / "Dockerfile").read_text()

    assert set(compose["services"]) == {*procfile, "postgres"}
    assert procfile["release"] in compose["services"]["release"]["command"]
    assert procfile["worker"] == compose["services"]["worker"]["command"]
    assert procfile["web"] in " ".join(re.findall(r'"([^"]+)"', dockerfile.splitlines()[-1]))
    for name in ("manage.py", "gunicorn.conf.py", "connectapp", "accounts", "integrations", "templates", "static"):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", dockerfile, re.MULTILINE), name
        assert f"!{name}\n" in (DEPLOY / "Dockerfile.dockerignore").read_text()
    assert SITE in (DEPLOY / "nginx" / "connect.conf").read_text()


def _webhook_url(deployment: Deployment) -> str:
    return f"{deployment.url}webhooks/snapinspect/{deployment.webhook_secret}/"


def _connect(deployment: Deployment) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=deployment.certificate)
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", deployment.https_port), 30), server_hostname="localhost"
    )


@contextmanager
def _trickling(connections: list[ssl.SSLSocket]) -> Iterator[None]:
    """Each of them sends a byte a second meanwhile, so that no time-out between two bytes ends it."""
    enough = threading.Event()

    def trickle() -> None:
        while not enough.wait(1):
            for connection in connections:
                connection.sendall(b" ")

    with ThreadPoolExecutor(1) as pool:
        trickled = pool.submit(trickle)
        try:
            yield
        finally:
            enough.set()
        trickled.result()


def _waits(connection: ssl.SSLSocket) -> bool:
    """Whether nobody has answered it or hung up."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except ssl.SSLWantReadError:
        return True
    return False


def _send(deployment: Deployment, request: bytes) -> None:
    with _connect(deployment) as connection:
        connection.sendall(request)
        connection.recv(1000)
