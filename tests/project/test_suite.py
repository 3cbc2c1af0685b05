"""`make test` and `make test-slow` leave out no file."""

import re

import pytest

from tests.__main__ import parts
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
