"""The whole of it behind PgBouncer in transaction mode, where no two transactions need be on the same connection.

On a PostgreSQL of its own whatever the suite runs on, so once is enough.
"""

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from tests.support import postgres
from tests.support.clients import COMPANY_OF_PAT
from tests.support.deliveries import NEW
from tests.support.postgres import free_port
from tests.support.running_app import RunningApp
from tests.support.wait import wait_until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is missing (apt-get install pgbouncer)"),
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]


# As docs/scaling.md says to write it.
SETTING = "?DISABLE_SERVER_SIDE_CURSORS=true"


@contextmanager
def pooled(database_url: str, setting: str = SETTING) -> Iterator[str]:
    """The URL of this database behind a pool of four connections."""
    database, port = urlsplit(database_url), free_port()
    with tempfile.TemporaryDirectory(prefix="connect-pgbouncer-") as home:
        settings = Path(home, "pgbouncer.ini")
        settings.write_text(
            "[databases]\n"
            f"postgres = host=127.0.0.1 port={database.port} dbname=postgres user={database.username}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            "pool_mode = transaction\ndefault_pool_size = 4\n"
        )
        settings.chmod(0o644)
        process = subprocess.Popen(
            [*postgres.as_owner_of(home), str(PGBOUNCER), str(settings)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(lambda: _answers(port))
            yield f"postgres://{database.username}@127.0.0.1:{port}/postgres{setting}"
        finally:
            process.terminate()
            process.wait(20)


def _answers(port: int) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, dbname="postgres", user="tests").close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_journey_a_download_and_a_key_rotation_behind_pgbouncer(tmp_path: Path) -> None:
    with postgres.server() as url, pooled(url) as pool, RunningApp(tmp_path, pool) as running_app:
        running_app.prepare().start_all()
        visitor = running_app.visitor().sign_up().connect()
        inspection = running_app.sandbox.control("POST", "inspections", {"company": int(COMPANY_OF_PAT), "title": "x"})
        body = {
            "sType": "Create_Inspection",
            "iInspectionID": inspection["iInspectionID"],
            "iCompanyID": int(COMPANY_OF_PAT),
        }
        posted = requests.post(f"{running_app.url}webhooks/snapinspect/{NEW}/", json=body, timeout=30)
        assert posted.status_code == 200

        def done() -> bool:
            page = visitor.get(f"c/{visitor.code}/events/?q={inspection['iInspectionID']}").text
            return re.findall(r"data-badge[^>]*>([^<]*)<", page) == ["Done"]

        wait_until(done)
        assert visitor.get(f"c/{visitor.code}/events.csv").text.count("\n") == 2
        assert "1" in running_app.manage("reseal_tokens")
        ready = requests.get(f"{running_app.url}health/ready", timeout=30)
        assert (ready.status_code, ready.json()["database"]) == (200, "ok")


@pytest.mark.parametrize("setting", [SETTING, ""], ids=["as documented", "without the setting"])
def test_the_api_answers_behind_pgbouncer(setting: str, tmp_path: Path) -> None:
    """Its first statement is prepared on a connection of the server, which behind a pooler is another one each time."""
    with postgres.server() as url, pooled(url, setting) as pool, RunningApp(tmp_path, pool) as running_app:
        running_app.prepare().start_web()
        key = running_app.manage("create_api_key", "--name", "tests", "--scope", "customers").strip()

        def status(_: int) -> int:
            address, headers = f"{running_app.url}api/v1/customers", {"Authorization": f"Bearer {key}"}
            return requests.get(address, headers=headers, timeout=30).status_code

        with ThreadPoolExecutor(8) as callers:
            answers = Counter(callers.map(status, range(200)))
        # A call that waits too long for one of four connections is told to come again.
        assert answers[200] > 150 and set(answers) <= {200, 503}, answers
