"""`make test` and `make test-slow` leave out no file."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.__main__ import Part, parts, run, try_again
from tests.support.running_app import ROOT

FILES = {path.relative_to(ROOT) for path in ROOT.glob("tests/**/test_*.py")}


@pytest.mark.parametrize("slow", [False, True])
def test_every_file_is_in_the_parts_of_the_suite(slow: bool) -> None:
    assert {file for part in parts(slow=slow) for file in part.files} == FILES
    assert {file for part in parts(slow=slow, both=False) for file in part.files} == FILES


@pytest.mark.parametrize(("mark", "folder"), [("processes", "processes"), ("browser", "browser")])
def test_what_starts_processes_or_chromium_is_in_its_folder(mark: str, folder: str) -> None:
    says = re.compile(rf"pytest\.mark\.{mark}\b")
    elsewhere = [file for file in FILES if file.parent.name != folder and says.search((ROOT / file).read_text())]
    assert elsewhere == []


RED = "def test_red():\n    assert False\n\ndef test_green():\n    pass\n"
GREEN = RED.replace("False", "True")
SKIPPED = RED.replace("assert False", "import pytest; pytest.skip()")
# What is wrong with another test's work may be reported for the last one.
LEAK = """
import pytest

@pytest.fixture(scope="session", autouse=True)
def nothing_leaks():
    yield
    assert False

def test_green():
    pass
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Within the checkout, as all tests are, and without their conftest.py."""
    with tempfile.TemporaryDirectory(dir="var") as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "options", "unstable"),
    [
        (RED, GREEN, [], ["test_red"]),
        (RED, RED, [], []),
        (RED, SKIPPED, [], []),
        (RED, GREEN.replace("test_red", "test_renamed"), [], []),
        (RED, GREEN, ["-x"], []),
        (LEAK, GREEN, [], []),
        (RED + RED.replace("test_red", "test_2") + RED.replace("test_red", "test_3"), GREEN, [], []),
    ],
)
def test_what_is_red_twice_fails_and_what_is_red_once_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, options: list[str], unstable: list[str]
) -> None:
    file = folder / "test_red.py"
    file.write_text(first)
    monkeypatch.setattr(Part, "cache", folder / "cache")
    results = [run(part := Part("red", [file], "not slow", "red.sqlite3"), options, None)]
    assert results == [pytest.ExitCode.TESTS_FAILED]

    file.write_text(second)
    found = try_again([part], results, options)

    assert [test.rpartition("::")[2] for test in found] == unstable
    assert results == [pytest.ExitCode.OK if unstable else pytest.ExitCode.TESTS_FAILED]
