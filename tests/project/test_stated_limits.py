"""Limits that sentences, templates and documents state are those that the code obeys."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from integrations import wording
from integrations.calls import api_client, limits, tables
from integrations.connecting import completion
from integrations.models import (
    ConnectAttempt,
    ConnectionTest,
    ConnectLink,
    ExplorerAnswer,
    ExplorerCall,
    Panel,
    PanelAnswer,
)
from integrations.snapinspect import safe_urls

ROOT = Path(__file__).resolve().parents[2]
IN_WORDS = {
    timedelta(days=7): "a week",
    timedelta(days=1): "a day",
    timedelta(minutes=10): "ten minutes",
    timedelta(seconds=10): "ten seconds",
}
NUMBERS = {2: "two", 4: "four"}
STATE = IN_WORDS[ConnectAttempt.LIFETIME]
ANSWER_KEPT = IN_WORDS[ExplorerAnswer.KEPT]
PANELS = "docs/panels.md"
ARCHITECTURE = "docs/architecture.md"


@pytest.mark.parametrize("ending", ["expired", "sign-in-over", "link-over"])
def test_an_ending_says_how_long_a_state_is_good(ending: str) -> None:
    assert STATE in wording.ENDINGS[ending].text


def test_a_colleague_is_told_how_long_a_link_is_good() -> None:
    assert IN_WORDS[ConnectLink.LIFETIME] == wording.LINK_LIFETIME
    assert wording.LINK_LIFETIME in wording.LINK_ENDINGS["expired"].text


@pytest.mark.parametrize(
    ("place", "stated"),
    [
        (ARCHITECTURE, f"It is good for {STATE} and one use."),
        ("SECURITY.md", f"good for {STATE} and one use"),
        (ARCHITECTURE, f"{NUMBERS[limits.MAX_CALLS]} in a process, "),
        (ARCHITECTURE, f"{NUMBERS[limits.MAX_CALLS_PER_CONNECTION]} for a connection."),
        (ARCHITECTURE, f"connections in turn, up to {limits.MAX_WAIT:.0f} seconds."),
        ("templates/integrations/partials/other_company.html", f"within {completion.QUESTION_LIFETIME.days} days"),
        ("templates/integrations/connection_test.html", f"more than {ConnectionTest.MOST_KEPT // 1024} KiB"),
        ("templates/integrations/explorer.html", f"Only you can see this response, for {ANSWER_KEPT}."),
        (PANELS, f"The last one of each person is kept for that person for {ANSWER_KEPT}"),
        (PANELS, f"the last {ExplorerCall.KEPT_PER_CUSTOMER} of a customer"),
        (PANELS, f"up to {ExplorerAnswer.LONGEST:,} characters"),
        (PANELS, f"At most {tables.MOST_COLUMNS} |"),
        (PANELS, f"shows the first {tables.MOST_ROWS} rows"),
        (PANELS, f"is cut after {tables.LONGEST_CELL} characters"),
        (PANELS, f"from {Panel.SHORTEST_REFRESH} to {Panel.LONGEST_REFRESH} |"),
        (PANELS, f"At most {NUMBERS[limits.MAX_CALLS]} such calls are under way in a web process"),
        (PANELS, f"{NUMBERS[limits.MAX_CALLS_PER_CONNECTION]} of them for one connection"),
        (PANELS, f"{NUMBERS[limits.MAX_DOWNLOADS].capitalize()} more threads may write downloads"),
        (PANELS, f"none is given more than {IN_WORDS[timedelta(seconds=api_client.PERSON_WAITS_SECONDS)]}"),
        (PANELS, f"{IN_WORDS[PanelAnswer.KEPT]} after anybody last looked"),
    ],
)
def test_a_stated_limit_is_the_one_in_the_code(place: str, stated: str) -> None:
    text = re.sub(r"\s+", " ", (ROOT / place).read_text(encoding="utf-8"))
    assert stated in text


def test_a_path_that_may_be_asked_fits_into_the_record_of_the_call() -> None:
    assert ExplorerCall._meta.get_field("path").max_length == safe_urls.LONGEST_PATH
