"""`make test` and `make test-slow` leave out no file."""

import re
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second_try", "result"), [("True", pytest.ExitCode.OK), ("False", pytest.ExitCode.TESTS_FAILED)]
)
def test_what_is_red_twice_fails_and_what_is_red_once_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second_try: str, result: pytest.ExitCode
) -> None:
    file = tmp_path / "test_red.py"
    file.write_text("def test_red():\n    assert False\n\ndef test_green():\n    pass\n")
    monkeypatch.setattr(Part, "cache", tmp_path / "cache")
    results = [run(part := Part("red", [file], "not slow", "red.sqlite3"), ["--cache-clear"], None)]
    assert results == [pytest.ExitCode.TESTS_FAILED]

    file.write_text(file.read_text().replace("False", second_try))
    unstable = try_again([part], results, [])

    assert results == [result]
    assert [test.rpartition("::")[2] for test in unstable] == (["test_red"] if result == pytest.ExitCode.OK else [])
