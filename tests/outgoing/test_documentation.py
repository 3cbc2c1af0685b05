"""What docs/webhooks.md says to receivers is so: the lines of code work, the examples are what is sent."""

import json
import os
import re
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from accounts.models import Customer
from integrations.events import outbox
from integrations.events.public_types import OTHER, RAW_TYPES
from integrations.models import Connection, Event, OutgoingMessage, State, WebhookEndpoint
from integrations.outgoing import delivery_actions, endpoints, schedule, sender
from integrations.outgoing.message_types import TEST, TYPES
from integrations.outgoing.signatures import new_secret, signed_headers
from tests.support.postgres import free_port
from tests.support.wait import TIMEOUT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "webhooks.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
AT = "2026-11-27T09:30:00+00:00"


def test_the_lines_of_python_receive_what_is_sent_once_and_refuse_the_rest() -> None:
    (lines,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "standardwebhooks" in block)
    secret = new_secret()
    names: dict[str, Any] = {"SECRET": secret, "seen": set(), "queue": []}
    exec(lines, names)
    body = b'{"type": "endpoint.test", "data": {}}'
    headers = signed_headers([secret], message_id="msg_1", at=datetime.now(UTC), body=body)
    assert [names["receive"](body, headers) for _ in range(2)] == [204, 204]
    assert names["queue"] == [json.loads(body)]
    assert names["receive"](body + b" ", headers) == 401
    other = signed_headers([new_secret()], message_id="msg_2", at=datetime.now(UTC), body=body)
    assert names["receive"](body, other) == 401 and len(names["queue"]) == 1


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is missing (apt-get install nodejs)")
def test_the_lines_of_javascript_receive_what_is_sent_and_refuse_the_rest(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    store = "const storeOnce = async (id, message) => console.log(JSON.stringify([id, message]));\n"
    file, secret, port = tmp_path / "receiver.mjs", new_secret(), free_port()
    file.write_text(lines + store)
    body = '{"type": "endpoint.test", "data": {"name": "Büro 7"}}'.encode()

    def status(headers: dict[str, str], body: bytes = body) -> int:
        return requests.post(f"http://localhost:{port}/", data=body, headers=headers, timeout=TIMEOUT).status_code

    def signed(*signing: str, at: datetime | None = None) -> dict[str, str]:
        return signed_headers(signing, message_id="msg_1", at=at or datetime.now(UTC), body=body)

    environment = {"PATH": os.environ["PATH"], "SECRET": secret, "PORT": str(port)}
    with subprocess.Popen(["node", str(file)], env=environment, stdout=subprocess.PIPE) as node:
        try:
            wait_until(lambda: is_listening(port))
            assert status(signed(secret)) == status(signed(new_secret(), secret)) == 204
            assert status(signed(secret), body + b" ") == status(signed(new_secret())) == status({}) == 401
            assert status(signed(secret) | {"webhook-id": "msg_2"}) == 401
            assert status(signed(secret) | {"webhook-timestamp": "soon"}) == 401
            for minutes in (-6, 6):
                assert status(signed(secret, at=datetime.now(UTC) + timedelta(minutes=minutes))) == 401
        finally:
            node.kill()
        stored, _ = node.communicate()
    assert [json.loads(line) for line in stored.splitlines()] == [["msg_1", json.loads(body)]] * 2


def test_the_table_of_tries_is_the_schedule() -> None:
    ((numbers, waits),) = re.findall(r"^\| try \| (.*) \|\n\|[-|]*\|\n\| after \| (.*) \|$", PAGE, re.MULTILINE)
    assert numbers.split(" | ") == [str(number) for number in range(2, schedule.MOST_TRIES + 1)]
    assert [_length(words) for words in waits.split(" | ")] == list(schedule.WAITS[1:])
    assert f"tried up to {schedule.MOST_TRIES} times" in TEXT
    assert f"obeyed, up to {schedule.LONGEST_RETRY_AFTER // timedelta(hours=1)} hours" in TEXT


def test_the_limits_are_those_of_the_code() -> None:
    assert f"2xx within {sender.DEADLINE:g} seconds" in TEXT and f"none within {sender.DEADLINE:g} seconds" in TEXT
    assert f"for {endpoints.OLD_SECRET_SIGNS // timedelta(hours=1)} hours after *Replace the secret*" in TEXT
    assert f"{sender.MOST_BYTES_KEPT // 1024} KiB of it" in TEXT
    assert f"on port 443 or above {sender.LOWEST_FREE_PORT - 1}" in TEXT
    assert f"arrived for {WebhookEndpoint.OFF_AFTER.days} days is switched off" in TEXT
    assert f"deliveries are kept for {OutgoingMessage.KEPT.days} days" in TEXT


def test_the_examples_are_the_messages_that_the_code_writes(acme: Customer) -> None:
    """Paste what this prints when the messages have changed on purpose."""
    blocks = []
    for name, body in _messages(acme).items():
        # The moment at which the test runs, and codes, which are random, are made equal.
        shown = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', f'"{AT}"', body)
        laid_out = json.dumps(json.loads(shown), indent=2, ensure_ascii=False)
        blocks.append(f"## {name}\n\n{TYPES.get(name, 'A person has asked for a test')}.\n\n```json\n{laid_out}\n```\n")
    page = (DOCS / "webhook-messages.md").read_text(encoding="utf-8")
    assert page.partition("\n## ")[0] + "\n" + "\n".join(blocks) == page, "\n".join(blocks)


def _messages(customer: Customer) -> dict[str, str]:
    """A message of each type, written by the code that writes them."""
    customer.code, customer.external_id = "k7m2p4q9t3wx", "42"
    customer.save()
    endpoint, _ = endpoints.create(url="https://hooks.example/", types=["*"], customer=customer, by=None)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(code="e5n8r2v6y3bd")
    connection = Connection.objects.create(
        customer=customer, code="c4f7h9j2m6ps", company_id="6847", company_name="Harbour Property Management"
    )
    for number, raw in enumerate([*RAW_TYPES.values(), "Delete_Inspection"]):
        event = Event.objects.create(
            connection=connection, code=f"v3x6z8b2d5f{number}", type=raw, inspection_id="118305", company_id="6847",
            review_id="771" if "Review" in raw else "", state=Event.State.DONE, proof=Event.Proof.VERIFIED,
            received_at=datetime.now(UTC), content='{"iInspectionID": 118305, "sTitle": "12 Harbour Road"}',
        )  # fmt: skip
        outbox.write(connection, [event.pk])
    for state in (State.CONNECTED, State.NEEDS_RECONNECT, State.CONNECTED, State.DISCONNECTED):
        connection.move_to(state, connected_at=datetime.now(UTC))
    endpoint.refresh_from_db()
    delivery_actions.send_test(endpoint, by=None)
    found = dict(OutgoingMessage.objects.order_by("pk").values_list("type", "body"))
    assert set(found) == {*TYPES, TEST} and OTHER in found
    return {name: found[name] for name in (*TYPES, TEST)}


def _length(words: str) -> timedelta:
    number, unit = words.split()
    return timedelta(**{unit: int(number)})


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True
