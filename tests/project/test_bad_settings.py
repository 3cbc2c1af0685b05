"""Settings that are refused: a bad one ends the start in one line that names it."""

import base64
from pathlib import Path

import pytest

from tests.project.test_settings import KEY, STANDARD, URL_SAFE
from tests.support.postgres import free_port
from tests.support.startup import GUNICORN, MANAGE, PASSWORD, assert_one_line_about, start, start_new

pytestmark = pytest.mark.once


BAD = [
    ("SECRET_KEY", "development-only-key-that-protects-nothing-at-all-000"),
    ("SECRET_KEY", "django-insecure-" + "k" * 50),
    ("SECRET_KEY", "k" * 39),
    ("SECRET_KEY", "k" * 40 + "\udcff"),
    ("ALLOWED_HOSTS", "*"),
    ("ALLOWED_HOSTS", "app.example.com, *.example.com"),
    ("ALLOWED_HOSTS", " , "),
    ("DEBUG", "rubbish"),
    ("SIGNUP_OPEN", "rubbish"),
    ("SNAPINSPECT_EXCHANGE_ON_CONNECT", "rubbish"),
    ("ALLOW_INSECURE_LOOPBACK", "rubbish"),
    ("TRUSTED_PROXIES", "x"),
    ("TRUSTED_PROXIES", "-1"),
    ("EMAIL_VERIFICATION", "rubbish"),
    ("LOG_LEVEL", "rubbish"),
    ("TOKEN_ENCRYPTION_KEYS", "not base64!"),
    ("TOKEN_ENCRYPTION_KEYS", base64.b64encode(b"k" * 31).decode()),
    ("TOKEN_ENCRYPTION_KEYS", base64.b64encode(b"k" * 33).decode()),
    ("TOKEN_ENCRYPTION_KEYS", f"{KEY},"),
    ("TOKEN_ENCRYPTION_KEYS", f"{KEY},{KEY}"),
    ("TOKEN_ENCRYPTION_KEYS", f"{STANDARD},{URL_SAFE}"),
    ("OPERATOR_EMAIL", "rubbish"),
    ("OPERATOR_EMAIL", "operator@example.com, another@example.com"),
    ("DEFAULT_FROM_EMAIL", "Connect <rubbish>"),
    ("SNAPINSPECT_FORM_ORIGINS", "rubbish"),
    ("SNAPINSPECT_FORM_ORIGINS", "https://login.example.com, https://*"),
    ("SNAPINSPECT_FORM_ORIGINS", "https://login.example.com/path"),
    ("SNAPINSPECT_FORM_ORIGINS", "https://login.example.com; script-src *"),
    ("SNAPINSPECT_FORM_ORIGINS", "http://login.example.com"),
    ("SNAPINSPECT_FORM_ORIGINS", "http://127.0.0.1:8001"),
    ("BRAND_LOGO", "no-such-file.png"),
    ("BRAND_LOGO", "http://operator.example/logo.png"),
    ("BRAND_ACCENT", "blue"),
    ("STATUS_URL", "javascript:alert(1)"),
    ("DATABASE_URL", "rubbish"),
    ("DATABASE_URL", f"mysql://app:{PASSWORD}@db.example.com/app"),
    ("DATABASE_URL", f"postgres://app:{PASSWORD}@db.example.com:port/app"),
    ("DATABASE_URL", "sqlite:////dev/null/db.sqlite3"),
    ("CACHE_URL", "rubbish"),
    ("EMAIL_URL", f"rubbish://{PASSWORD}"),
    ("EMAIL_URL", f"smtp://user:{PASSWORD}@mail.example.com:port"),
    *(
        (f"SNAPINSPECT_{name}", bad)
        for name in ("REDIRECT_URI", "CONNECT_URL", "EXCHANGE_URL", "API_URL")
        for bad in ("http://app.example.com/x/", "http://127.0.0.1:8001/x/", "rubbish")
    ),
    ("SNAPINSPECT_REDIRECT_URI", "https://app.example.com/somewhere/else/"),
    ("SNAPINSPECT_REDIRECT_URI", "https://other.example.com/connect/callback/"),
]


# `make test` tries one value of each setting, `make test-slow` the others.
ONE_OF_EACH = dict(reversed(BAD)).items()


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(*bad, marks=[] if bad in ONE_OF_EACH else pytest.mark.slow) for bad in BAD],
    ids=lambda text: str(text)[:40],
)
def test_H1_a_bad_setting_ends_the_start_in_one_line_that_names_it(name: str, value: str) -> None:
    assert_one_line_about(name, start(*MANAGE, "check", **{name: value}))


@pytest.mark.parametrize("command", [(*MANAGE, "check"), GUNICORN], ids=["manage.py", "gunicorn"])
def test_H1_a_new_process_says_what_a_fork_says(command: tuple[str, ...]) -> None:
    new, forked = start_new(*command, LOG_LEVEL="rubbish"), start(*command, LOG_LEVEL="rubbish")

    assert_one_line_about("LOG_LEVEL", new)
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)


@pytest.mark.parametrize("missing", ["SNAPINSPECT_CLIENT_ID", "SNAPINSPECT_CLIENT_SECRET"])
def test_one_half_of_the_client_credentials_is_refused(missing: str) -> None:
    assert_one_line_about(missing, start(*MANAGE, "check", **{missing: ""}))


def test_signing_in_with_snapinspect_needs_the_exchange_of_what_travelled() -> None:
    finished = start(*MANAGE, "check", SNAPINSPECT_SIGN_IN_FIELD="iUserID", SNAPINSPECT_EXCHANGE_ON_CONNECT="false")

    assert_one_line_about("SNAPINSPECT_SIGN_IN_FIELD", finished)


@pytest.mark.parametrize("threads", ["0", "-1", "65", "9" * 23, "two"])
def test_a_worker_has_1_to_64_threads(threads: str) -> None:
    finished = start(*MANAGE, "worker", f"--threads={threads}")
    assert finished.returncode == 2
    assert "argument --threads: not a number from 1 to 64" in finished.stderr


def test_arguments_that_are_no_text_are_refused() -> None:
    finished = start(*MANAGE, "create_api_key", "--name", "\udcff", "--scope", "customers")
    assert (finished.returncode, finished.stderr) == (1, "The arguments are not UTF-8.\n")


@pytest.mark.parametrize("key", [STANDARD, URL_SAFE], ids=["standard", "URL-safe"])
def test_H1_the_key_of_the_tokens_must_not_be_django_s_key(key: str) -> None:
    finished = start(*MANAGE, "check", SECRET_KEY=STANDARD, TOKEN_ENCRYPTION_KEYS=key)

    assert_one_line_about("TOKEN_ENCRYPTION_KEYS", finished)
    assert "SECRET_KEY" in finished.stderr


def test_H1_debug_refuses_a_host_that_others_can_reach() -> None:
    assert_one_line_about("ALLOWED_HOSTS", start(*MANAGE, "check", DEBUG="true"))


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_plain_http_to_a_loopback_host_takes_an_explicit_word_outside_debug(allowed: str) -> None:
    loopback = start(*MANAGE, "check", ALLOW_INSECURE_LOOPBACK=allowed, SNAPINSPECT_API_URL="http://127.0.0.1:8001/")
    elsewhere = start(
        *MANAGE, "check", ALLOW_INSECURE_LOOPBACK=allowed, SNAPINSPECT_API_URL="http://127.0.0.1.example.com/"
    )

    assert (loopback.returncode == 0) is (allowed == "true")
    assert_one_line_about("SNAPINSPECT_API_URL", elsewhere)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", ""),
        ("TOKEN_ENCRYPTION_KEYS", "rubbish"),
        ("DATABASE_URL", "rubbish"),
        ("LOG_LEVEL", "rubbish"),
        ("PORT", "rubbish"),
        ("WEB_WORKERS", "0"),
        ("WEB_THREADS", "many"),
    ],
)
def test_the_web_server_says_it_in_the_same_one_line(name: str, value: str) -> None:
    assert_one_line_about(name, start(*GUNICORN, **{name: value}))


def test_the_web_server_accepts_the_settings_of_production() -> None:
    finished = start_new(*GUNICORN)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["a folder", "no database", "nowhere", "nobody answers"])
def test_a_database_that_cannot_be_opened_ends_a_command_in_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is not a database. " * 100)
    url = {
        "a folder": f"sqlite:///{tmp_path}",
        "no database": f"sqlite:///{tmp_path / 'text'}",
        "nowhere": f"sqlite:///{tmp_path / 'text' / 'folder' / 'db.sqlite3'}",
        "nobody answers": f"postgres://app:{PASSWORD}@127.0.0.1:{free_port()}/app",
    }[kind]

    assert_one_line_about("DATABASE_URL", start(*MANAGE, "migrate", DATABASE_URL=url))
