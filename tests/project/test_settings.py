"""Settings: each one is explained in .env.example, has a safe default or is required, and takes effect."""

import ast
import base64
import json
import re
import secrets
from pathlib import Path

import pytest
from django.core import mail
from pytest_django import Settings

from integrations.tokens.encryption import parse_keys
from tests.commands.production import ENVIRONMENT
from tests.support.clients import send_mail_through
from tests.support.measurements import record
from tests.support.startup import GUNICORN, MANAGE, PASSWORD, ROOT, assert_one_line_about, start, start_new

pytestmark = pytest.mark.once

KEY = ENVIRONMENT["TOKEN_ENCRYPTION_KEYS"]
STANDARD = base64.b64encode(b"\xfb\xff" * 16).decode()
URL_SAFE = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode()


def names_read(path: str) -> set[str]:
    """The settings a file asks for: every call there that is given a NAME_IN_CAPITALS."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "setdefault" not in ast.dump(node.func)]
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
    read = (
        names_read("connectapp/settings.py") | names_read("connectapp/environment.py") | names_read("gunicorn.conf.py")
    )
    explained, bare = names_explained()

    assert {"SECRET_KEY", "DATABASE_URL", "SNAPINSPECT_API_URL", "DEBUG", "PORT"} <= read, "the search finds nothing"
    assert explained == read
    assert bare == set()


def test_env_example_holds_no_secret_and_no_setting_twice() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if re.match(r"(?:# )?[A-Z][A-Z0-9_]+=", line)]

    assert len({line.removeprefix("# ").partition("=")[0] for line in settings}) == len(settings)
    # What is not commented out has to be filled in by hand: that is what production requires.
    assert [line for line in settings if not line.startswith("#") and not line.endswith("=")] == []


REQUIRED = re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_start_in_production_without_what_has_no_default_ends_in_one_line(name: str) -> None:
    assert_one_line_about(name, start(*MANAGE, "check", **{name: ""}))


SHOW = (
    "import connectapp.settings as s; print({n: v for n, v in sorted(vars(s).items()) if n.isupper() and n != 'env'})"
)


def test_everything_else_may_be_left_empty_and_has_the_default_that_env_example_shows() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", text, re.MULTILINE))
    # The example's is relative to the checkout, where the commands are started.
    del defaults["DATABASE_URL"]

    shown = start("-c", SHOW, **defaults)
    empty = start("-c", SHOW, **dict.fromkeys(defaults, ""))

    assert (shown.returncode, shown.stderr) == (0, "")
    assert empty.stdout == shown.stdout


def test_a_setting_that_begins_with_a_dollar_is_taken_letter_by_letter() -> None:
    secret, client = "$PATH" + "k" * 50, "$HOME$"
    shown = start(
        "-c",
        "from django.conf import settings as s; from django.core.mail import get_connection;"
        "print(s.SECRET_KEY, s.SNAPINSPECT_CLIENT_SECRET, get_connection().password)",
        DJANGO_SETTINGS_MODULE="connectapp.settings",
        SECRET_KEY=secret,
        SNAPINSPECT_CLIENT_SECRET=client,
        EMAIL_URL="smtp://user:$SHELL@mail.example.com:25",
    )
    assert shown.stdout.split() == [secret, client, "$SHELL"], shown.stderr


def test_mail_goes_where_its_url_says(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    send_mail_through(settings, f"filemail:///{tmp_path}")
    mail.send_mail("To a folder", "", None, ["alice@example.com"])
    send_mail_through(settings, "consolemail://")
    mail.send_mail("To the console", "", None, ["alice@example.com"])

    (kept,) = tmp_path.iterdir()
    assert "Subject: To a folder" in kept.read_text()
    assert "Subject: To the console" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scheme", "tls", "ssl"), [("smtp", False, False), ("smtp+tls", True, False), ("smtp+ssl", False, True)]
)
def test_the_mail_server_is_the_one_of_the_url_and_has_a_time_out(scheme: str, tls: bool, ssl: bool) -> None:
    shown = start(
        "-c",
        "from django.core.mail import get_connection; s = get_connection();"
        "print([s.host, s.port, s.username, s.password, s.use_tls, s.use_ssl, s.timeout])",
        DJANGO_SETTINGS_MODULE="connectapp.settings",
        EMAIL_URL=f"{scheme}://user:{PASSWORD}@mail.example.com:2525",
    )
    assert shown.stdout.strip() == str(["mail.example.com", 2525, "user", PASSWORD, tls, ssl, 20]), shown.stderr


def test_further_origins_of_forms_and_a_sender_with_a_name_are_accepted() -> None:
    finished = start(
        *MANAGE,
        "check",
        SNAPINSPECT_FORM_ORIGINS="https://login.example.com, https://*.example.com:8443",
        DEFAULT_FROM_EMAIL="Connect <connect@example.com>",
    )
    assert finished.returncode == 0, finished.stderr


def test_H1_the_deployment_check_finds_nothing_in_production() -> None:
    finished = start_new(*MANAGE, "check", "--deploy", "--fail-level", "WARNING")
    findings = re.findall(r"^\?: \(.*", finished.stderr, re.MULTILINE)
    record("H1", "check --deploy with the settings of production", f"{len(findings)} findings")
    assert (finished.returncode, findings) == (0, []), finished.stderr


@pytest.mark.parametrize("command", ["seed", "demo"])
def test_production_has_no_command_that_makes_data_up(command: str) -> None:
    finished = start(*MANAGE, command)
    assert finished.returncode == 1
    assert f"Unknown command: '{command}'" in finished.stderr


# What a deployment gets that has set only what it must: nothing is open, shown or trusted that nobody has asked for.
SAFE = {
    "DEBUG": False,
    "SIGNUP_OPEN": False,
    "EMAIL_VERIFICATION": "mandatory",
    "STAFF_NEED_SECOND_FACTOR": True,
    "MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN": False,
    "TRUSTED_PROXIES": 0,
    "SECURE_PROXY_SSL_HEADER": None,
    "CSRF_TRUSTED_ORIGINS": [],
    "ALLOW_INSECURE_LOOPBACK": False,
    "SECRET_KEY_FALLBACKS": [],
    "SNAPINSPECT_EXCHANGE_ON_CONNECT": True,
    "SNAPINSPECT_SIGN_IN_FIELD": "",
    "SNAPINSPECT_TITLE_FIELD": "",
    "SNAPINSPECT_FORM_ORIGINS": [],
    "EVENT_HANDLERS": [],
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "CSRF_COOKIE_SECURE": True,
    "CSRF_COOKIE_HTTPONLY": True,
    "X_FRAME_OPTIONS": "DENY",
    "SECURE_CONTENT_TYPE_NOSNIFF": True,
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
}
READ_BACK = (
    "import django, json; from django.conf import settings as s; print(json.dumps({n: getattr(s, n) for n in %r}))"
)
# Beside a default of its own, each has a word that opens it: those who need it say so.
OPENED = {
    "SIGNUP_OPEN": "true",
    "EMAIL_VERIFICATION": "none",
    "TRUSTED_PROXIES": "1",
    "ALLOW_INSECURE_LOOPBACK": "true",
}


def test_H1_what_nobody_has_set_is_the_safe_choice() -> None:
    show = ("-c", READ_BACK % list(SAFE))
    shown = json.loads(start(*show, DJANGO_SETTINGS_MODULE="connectapp.settings").stdout)
    opened = json.loads(start(*show, DJANGO_SETTINGS_MODULE="connectapp.settings", **OPENED).stdout)

    record("H1", "only what has no default is set", f"{len(SAFE)} of {len(SAFE)} defaults are the safe choice")
    assert shown == SAFE
    assert all(opened[name] != SAFE[name] for name in OPENED)


def test_H1_gunicorn_listens_to_this_machine_only_and_keeps_no_list_of_requests() -> None:
    shown = start(*GUNICORN[:-1], "--print-config")
    config = dict(re.findall(r"^(\w+)\s+= (.*)$", shown.stdout, re.MULTILINE))

    assert config["bind"] == "['127.0.0.1:8000']"
    assert (config["accesslog"], config["reload"], config["forwarded_allow_ips"]) == ("None", "False", "[]")


def test_both_spellings_of_base64_are_the_same_key() -> None:
    assert STANDARD != URL_SAFE
    assert parse_keys(STANDARD) == parse_keys(URL_SAFE) == parse_keys(URL_SAFE.rstrip("="))
    assert parse_keys(STANDARD)[0].raw == b"\xfb\xff" * 16
    for _ in range(200):
        raw = secrets.token_bytes(32)
        assert parse_keys(base64.urlsafe_b64encode(raw).decode())[0].raw == raw


def test_the_newest_key_is_the_first_of_the_list() -> None:
    first, second = parse_keys(f" {URL_SAFE} , {KEY} ")
    assert (first.raw, second.raw) == (base64.urlsafe_b64decode(URL_SAFE), base64.b64decode(KEY))
    assert first.id != second.id
