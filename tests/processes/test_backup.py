"""The recipes of docs/backup.md, run as they stand there: what was restored works on."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import AppFactory
from tests.support.postgres import binaries
from tests.support.running_app import ROOT, RunningApp, fresh_database
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.processes]


@pytest.fixture
def own_app(new_app: AppFactory) -> Iterator[RunningApp]:
    """A deployment that nobody else uses: this test takes its database away."""
    yield new_app().start_all()


def run(recipe: str, **names: str) -> None:
    """A block of the guide, by the word after its fence, with these variables set."""
    block = re.search(rf"^```{recipe}\n(.*?)^```", (ROOT / "docs/backup.md").read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    subprocess.run(["bash", "-euc", block[1]], env={"PATH": path_with_postgres(), **names}, check=True)


def path_with_postgres() -> str:
    return f"{os.environ['PATH']}:{binaries() or ''}"


def test_a_restored_backup_works_on(own_app: RunningApp, tmp_path: Path) -> None:
    email = "backup@example.com"
    visitor = own_app.visitor().sign_up(email=email).connect()
    assert visitor.http.cookies["sessionid"]
    database_url = own_app.environment["DATABASE_URL"]
    backup = str(tmp_path / "backup")
    if database_url.startswith("postgres"):
        run("postgresql", DATABASE_URL=database_url, BACKUP=backup)
    else:
        run("sqlite", DATABASE=database_url.removeprefix("sqlite:///"), BACKUP=backup)

    assert Path(backup).stat().st_mode & 0o777 == 0o600

    for process in own_app.processes[1:]:
        own_app.kill(process)
    if database_url.startswith("postgres"):
        own_app.environment["DATABASE_URL"] = fresh_database()
        run("postgresql-restore", DATABASE_URL=own_app.environment["DATABASE_URL"], BACKUP=backup)
    else:
        file = Path(database_url.removeprefix("sqlite:///"))
        file.unlink()
        run("sqlite-restore", DATABASE=str(file), BACKUP=backup)
    own_app.start_web()
    own_app.start_worker()

    # A thief of the backup would not be signed in as anybody, and so people sign in again.
    assert own_app.rows("SELECT count(*) FROM django_session") == [(0,)]
    assert "accounts/login" in visitor.get(f"c/{visitor.code}/").url
    visitor.post("accounts/login/", {"login": email, "password": "correct horse"})
    assert visitor.badges() == ["Connected"]
    code = re.findall(rf"c/{visitor.code}/connections/(\w+)/test/", visitor.dashboard())[0]
    tested = visitor.post(f"c/{visitor.code}/connections/{code}/test/")
    wait_until(lambda: "Pat" in visitor.http.get(tested.url, timeout=60).text)  # on a busy machine a worker asks
