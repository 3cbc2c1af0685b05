"""The documents say what is true: their commands exist, their links lead somewhere, their example runs."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from accounts.models import Customer, User
from integrations import handlers
from tests import settings_page
from tests.driving import Sandbox, Visitor
from tests.test_event_pages import announce, upload
from tests.world import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist_with_their_options(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?\bmake ([a-z]+)\b(?:`|$)", text, re.MULTILINE)) <= targets
    for name, arguments in re.findall(r"manage\.py ([a-z_]+)([^`\n]*)", text):
        command = load_command_class(get_commands()[name], name)
        options = command.create_parser("manage.py", name).format_help()
        assert not [option for option in re.findall(r"--[a-z-]+", arguments) if option not in options]


def test_the_page_of_settings_says_what_env_example_says() -> None:
    written = settings_page.PAGE.read_text()
    assert written == settings_page.page(), "write it anew: python -m tests.settings_page"


def test_every_system_check_is_listed_with_its_hint() -> None:
    listed = (ROOT / "docs" / "checks.md").read_text()
    code = "".join(path.read_text() for path in ROOT.glob("*/checks.py"))
    ids = re.findall(r'id="([a-z]+\.[A-Z]\d+)"', code)

    assert ids
    assert re.findall(r"^\| `([a-z]+\.[A-Z]\d+)`", listed, re.MULTILINE) == sorted(ids, key=lambda each: each[-3:])


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The handler of docs/webhooks.md, loaded as EVENT_HANDLERS would, working in an empty folder."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "example_from_the_docs.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = dict(handlers.registry)
    handlers.load(["example_from_the_docs"])
    yield tmp_path
    handlers.registry.clear()
    handlers.registry.update(before)
    assert importlib.util.find_spec("example_from_the_docs") is not None


@pytest.mark.django_db(transaction=True)
def test_the_handler_of_the_documents_runs(example: Path, sandbox: Sandbox, alice: User, acme: Customer) -> None:
    browser = Visitor()
    browser.force_login(alice)
    browser.connect(acme, sandbox)
    inspection = upload(sandbox, title="Harbour Street 7")

    announce(browser, inspection)

    assert (example / "uploads.txt").read_text().split(" ", 1)[1] == f"{inspection} Harbour Street 7\n"
