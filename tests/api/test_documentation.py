"""Row P8: what docs/api.md says is so."""

import json
import re
import shlex
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from integrations.calls import api_client, limits
from integrations.models import Scope
from tests.api.conftest import Keys

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_every_line_of_curl_works_as_it_stands(api: Keys) -> None:
    client = api()
    assert LINES
    for line in LINES:
        words = shlex.split(line)
        assert words[:3] == ["curl", "-H", "Authorization: Bearer $KEY"], line
        address = urlsplit(words[-1].replace("$CONNECT", ""))
        body = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
        method = words[words.index("-X") + 1] if "-X" in words else "POST" if body is not None else "GET"
        answer = client.call(method, address.path.removeprefix("/api/v1/"), body, **dict(parse_qsl(address.query)))
        assert answer.status_code in {200, 201}, (line, answer.content)


def test_the_table_of_scopes_is_the_code() -> None:
    table = dict(re.findall(r"^\| `([a-z:]+)` \| (.*?) \|$", PAGE, re.MULTILINE))
    assert table == {scope.value: str(scope.label) for scope in Scope}


def test_the_bounds_of_a_forwarded_call_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"has {api_client.FORWARD_BYTES // 2**20} MiB at most" in text
    assert f"at most {limits.MAX_CALLS} calls at a time, {limits.MAX_CALLS_PER_CONNECTION} of one connection" in text
    assert f"waits for its turn, up to {limits.MAX_WAIT:.0f} seconds" in text
    assert f"none within {api_client.FORWARD_SECONDS:.0f} seconds for each try" in text
