"""Row P8: what docs/api.md says is so. Its lines are run by tests/processes/test_api.py."""

import re

from integrations.api import middleware, proxy, values
from integrations.calls import api_client, limits
from integrations.models import ConnectSession, Scope
from integrations.models.connections import MOST_TESTS, TESTS_COUNTED_FOR
from tests.api.described import DESCRIPTION
from tests.support.running_app import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_table_of_scopes_is_the_code() -> None:
    table = dict(re.findall(r"^\| `([a-z:]+)` \| (.*?) \|$", PAGE, re.MULTILINE))
    assert table == {scope.value: str(scope.label) for scope in Scope}


def test_the_bounds_of_a_forwarded_call_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"has a body of {api_client.FORWARD_BYTES // 2**20} MiB at most" in text
    assert f"an answer one of {api_client.FORWARD_ANSWER_BYTES // 2**20} MiB" in text
    assert f"at most {limits.MAX_CALLS} calls at a time, {limits.MAX_CALLS_PER_CONNECTION} of one connection" in text
    assert f"waits for its turn, up to {limits.MAX_WAIT:.0f} seconds" in text
    assert f"none within {api_client.FORWARD_SECONDS:.0f} seconds for each try" in text


def test_the_table_of_limits_is_the_code() -> None:
    table = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE[PAGE.index("## Limits") :], re.MULTILINE))
    default = re.search(r"API_REQUESTS_A_MINUTE=(\d+)", (ROOT / ".env.example").read_text(encoding="utf-8"))
    listing = DESCRIPTION["paths"]["/api/v1/customers"]["get"]["parameters"]
    (most_rows,) = [one["schema"]["maximum"] for one in listing if one["name"] == "limit"]
    metadata = DESCRIPTION["components"]["schemas"]["ConnectionChange"]["properties"]["metadata"]
    minutes, days = ConnectSession.LIFETIME.total_seconds() / 60, ConnectSession.REMEMBERED.days
    assert default is not None and TESTS_COUNTED_FOR.total_seconds() == 60
    assert table == {
        "what": "limit",
        "requests of a key, in all processes together": f"{default[1]} a minute (`API_REQUESTS_A_MINUTE`)",
        "body of a request": f"{middleware.MOST_BYTES // 1024} KiB; of a forwarded one {proxy.MOST_BYTES // 2**20} MiB",
        "rows of a page of a list": str(most_rows),
        "a connect session": (
            f"good for {minutes:.0f} minutes and one use; what became of it can be asked for {days} days"
        ),
        "names and IDs of yours": f"{values.LONGEST} characters",
        "metadata of a connection": (
            f"{metadata['maxProperties']} texts of {metadata['additionalProperties']['maxLength']} characters,"
            f" with names of {metadata['propertyNames']['maxLength']}"
        ),
        "*Test* of a connection": f"{MOST_TESTS} a minute",
    }
