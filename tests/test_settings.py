"""Settings: each one is explained in .env.example, and a bad one ends the start in one line that names it."""

import ast
import base64
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.encryption import parse_keys
from tests.postgres import free_port
from tests.production import ENVIRONMENT

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
MANAGE = ("manage.py",)
GUNICORN = ("-m", "gunicorn", "--config", "gunicorn.conf.py", "--check-config")
KEY = ENVIRONMENT["TOKEN_ENCRYPTION_KEYS"]
PASSWORD = "in-an-address"


def start(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command with the settings of production, but for these. An empty one counts as missing, whatever `.env` says."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **ENVIRONMENT, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_one_line_about(name: str, finished: subprocess.CompletedProcess[str]) -> None:
    said = (finished.stderr + finished.stdout).strip()
    assert finished.returncode != 0, said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1, said
    assert re.search(rf"\b{name}\b", said), said
    assert PASSWORD not in said


def names_read(path: str) -> set[str]:
    """The settings a file asks for: every call there that is given a NAME_IN_CAPITALS."""
    calls = [
        node for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    names = {argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)}
    return {name for name in names if isinstance(name, str) and re.fullmatch(r"[A-Z][A-Z0-9_]+", name)}


def names_explained() -> tuple[set[str], set[str]]:
    """The settings of .env.example, and those of them that no comment stands above."""
    found, bare, explained = set(), set(), False
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        setting = re.match(r"(?:# )?([A-Z][A-Z0-9_]+)=", line)
        if setting:
            found.add(setting[1])
            bare |= set() if explained else {setting[1]}
        else:
            # A heading explains nothing; one comment may stand above settings that belong together.
            explained = line.startswith("# ") and not line.startswith("# ---")
    return found, bare


def test_every_setting_that_is_read_is_explained_in_env_example_and_no_other() -> None:
    read = names_read("connectapp/settings.py") | names_read("gunicorn.conf.py")
    explained, bare = names_explained()

    assert {"SECRET_KEY", "DATABASE_URL", "SNAPINSPECT_API_URL", "DEBUG", "PORT"} <= read, "the search finds nothing"
    assert explained == read - {"DJANGO_SETTINGS_MODULE"}
    assert bare == set()


def test_env_example_holds_no_secret_and_no_setting_twice() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if re.match(r"(?:# )?[A-Z][A-Z0-9_]+=", line)]

    assert len({line.removeprefix("# ").partition("=")[0] for line in settings}) == len(settings)
    # What is not commented out has to be filled in by hand: that is what production requires.
    assert [line for line in settings if not line.startswith("#") and not line.endswith("=")] == []


@pytest.mark.parametrize(
    "line", [line for line in (ROOT / ".env.example").read_text().splitlines() if line[-1:] == "="]
)
def test_what_env_example_leaves_to_be_filled_in_is_required_in_production(line: str) -> None:
    name = line.removeprefix("# ").removesuffix("=")
    if line.startswith("#"):
        assert start(*MANAGE, "check", **{"SNAPINSPECT_CLIENT_ID": "", "SNAPINSPECT_CLIENT_SECRET": ""}).returncode == 0
    else:
        assert_one_line_about(name, start(*MANAGE, "check", **{name: ""}))
