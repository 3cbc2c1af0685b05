"""The documents say what is true: their commands exist, their links lead somewhere, their example runs."""

import base64
import importlib.util
import re
import runpy
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import Message
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.utils import timezone

from accounts.models import Customer, User
from connectapp import development
from integrations.events import handlers
from integrations.models import ConnectSession
from integrations.outgoing import signatures
from tests.commands import settings_page, soak
from tests.pages.test_event import announce, upload
from tests.support.clients import Sandbox, Visitor
from tests.support.running_app import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist_with_their_options(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?\bmake ([a-z-]+)\b(?:`|$)", text, re.MULTILINE)) <= targets
    for name, arguments in re.findall(r"manage\.py ([a-z_]+)([^`\n]*)", text):
        command = load_command_class(get_commands()[name], name)
        options = command.create_parser("manage.py", name).format_help()
        assert not [option for option in re.findall(r"--[a-z-]+", arguments) if option not in options]


def test_what_the_checklist_names_exists_and_its_sum_is_right() -> None:
    text = (ROOT / "docs" / "checklist.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+? \| ([012]) \| (.+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 45))
    for number, score, shown in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown)
        missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
        assert missing == [], f"row {number}"
        assert score != "2" or named or "`make " in shown, f"row {number} shows nothing"
        assert score != "1" or "missing: " in shown, f"row {number} does not say what is missing"
    assert f"\n{sum(int(score) for _, score, _ in rows)} of 88:" in text


def test_the_tests_that_the_table_of_attacks_names_exist() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \|$", text.partition(soak.BY_HAND)[2], re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 16))
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= len(rows)
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []


def test_the_readme_shows_every_picture_that_is_kept() -> None:
    shown = set(re.findall(r"docs/pictures/[\w-]+\.png", (ROOT / "README.md").read_text()))
    assert shown == {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "pictures").iterdir()}


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_locks_pin_every_package_by_hash_and_name_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert [each for each in packages if "==" not in each or "--hash=sha256:" not in each] == []
    assert "://" not in text


def test_paths_and_names_of_code_in_the_documents_exist() -> None:
    folders = "connectapp|accounts|integrations|tests|templates|deploy|static"
    for document in DOCUMENTS:
        for path in re.findall(rf"`((?:{folders})/[\w./-]*\w)(?:::\w+)?`", document.read_text()):
            assert (ROOT / path).exists(), f"{document.name}: {path}"
    contributing = (ROOT / "docs" / "contributing.md").read_text()
    for name, path in re.findall(r"`([A-Z_]+)`(?: and `[A-Z_]+`)? (?:of|in) `([\w./]+)`", contributing):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.MULTILINE), f"{name} in {path}"


def test_the_page_of_settings_says_what_env_example_says() -> None:
    written = settings_page.PAGE.read_text()
    assert written == settings_page.page(), "write it anew: python -m tests.commands.settings_page"


def test_the_sample_needs_the_scopes_that_make_run_gives_its_key() -> None:
    sample = runpy.run_path(str(ROOT / "docs" / "examples" / "product.py"))
    assert sample["SCOPES"] == development.PRODUCT_SCOPES


def test_the_html_of_the_popup_is_what_the_sample_sends() -> None:
    sample = runpy.run_path(str(ROOT / "docs" / "examples" / "product.py"))
    page = (ROOT / "docs" / "embedding.md").read_text()
    for part in ("POPUP", "RELOAD", "CLOSE"):
        assert sample[part].strip() in page, part


def test_the_page_about_embedding_says_how_long_an_address_works() -> None:
    page = (ROOT / "docs" / "embedding.md").read_text()
    minutes = ConnectSession.LIFETIME.total_seconds() / 60
    assert set(re.findall(r"(\d+) minutes", page)) == {f"{minutes:.0f}"}
    assert "This link no longer works" in (ROOT / "templates/integrations/hosted_gone.html").read_text()


def test_the_sample_keeps_what_is_signed_once_and_refuses_the_rest() -> None:
    sample = runpy.run_path(str(ROOT / "docs" / "examples" / "product.py"))
    hooks, secret, now = sample["Webhooks"](), signatures.new_secret(), timezone.now()
    hooks.secret = base64.b64decode(secret.removeprefix(signatures.PREFIX))
    body = b'{"type": "review.signed", "data": {"customer": {"external_id": "company-1"}}}'

    def signed(by: str = secret, *, at: datetime = now) -> Message:
        headers = Message()
        for name, value in signatures.signed_headers([by], message_id="msg_1", at=at, body=body).items():
            headers[name] = value
        return headers

    assert hooks.receive(signed(), body) and hooks.receive(signed(), body)
    ana, ben = sample["USERS"]["ana"], sample["USERS"]["ben"]
    assert [message["type"] for message in hooks.about(ana)] == ["review.signed"]
    assert hooks.about(ben) == []
    assert not hooks.receive(signed(), body + b" ")
    assert not hooks.receive(signed(signatures.new_secret()), body)
    assert not hooks.receive(signed(at=now - timedelta(seconds=sample["OLDEST_WEBHOOK"] + 60)), body)
    assert not hooks.receive(Message(), body)
    assert not sample["Webhooks"]().receive(signed(), body), "before it has a secret"


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
