"""Row P1: keys of the API are shown once, stored as a hash, and do what their scopes say."""

import io
import re
import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from connectapp.redaction import redact
from integrations.api import keys
from integrations.models import ApiKey, Scope
from tests.api.conftest import ApiClient, Keys

pytestmark = pytest.mark.django_db(transaction=True)


def made(*arguments: str) -> str:
    out = io.StringIO()
    call_command("create_api_key", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_prints_the_key_alone_and_the_database_has_only_its_hash(acme: Customer) -> None:
    printed = made("--name", "CI", "--scope", "customers", "--customer", acme.code, "--expires-in-days", "3")

    (plain,) = printed.splitlines()
    assert re.fullmatch(keys.PATTERN, plain)
    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.customer) == ("CI", ["customers"], acme)
    secret = plain.rpartition("_")[2] if plain.count("_") == 2 else plain[13:]
    assert secret not in str(list(ApiKey.objects.values())) + str(list(AuditEntry.objects.values()))
    assert ApiClient(plain).json("get", "customers")["items"][0]["code"] == acme.code


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--name", "x", "--scope", "customers", "--customer", "nosuchcode22"], "customer"),
        (["--name", "", "--scope", "customers"], "--name"),
        (["--name", "x", "--scope", "everything"], "everything"),
        (["--name", "x", "--scope", "customers", "--expires-in-days", "0"], "--expires-in-days"),
    ],
)
def test_the_command_refuses_in_one_line(arguments: list[str], named: str, db: None) -> None:
    with pytest.raises(CommandError, match=named):
        made(*arguments)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer cok_",
        "Basic {}",
        "{}",
        "Bearer {}x",
        "Bearer  {}",
        "Bearer \u00e9",
        "Bearer " + "k" * 7000,
    ],
)
def test_whatever_is_wrong_with_a_key_the_words_are_the_same(header: str, db: None) -> None:
    _, plain = keys.issue(name="k", scopes=["customers"], by=None)
    none, wrong = ApiClient(""), ApiClient("")
    answer = wrong.get("/api/v1/customers", headers={"Authorization": header.replace("{}", plain)})

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    without = none.get("/api/v1/customers").json()
    assert {**answer.json(), "request_id": ""} == {**without, "request_id": ""}
    assert answer["Content-Type"] == "application/problem+json"


def test_a_revoked_and_an_expired_key_are_unknown_at_once(api: Keys) -> None:
    client = api()
    client.json("get", "customers")
    ApiKey.objects.update(expires_at=Now() - timedelta(seconds=1))
    client.json("get", "customers", status=401)
    ApiKey.objects.update(expires_at=None)
    client.json("get", "customers")

    assert keys.revoke(ApiKey.objects.get(), by=None)
    assert not keys.revoke(ApiKey.objects.get(), by=None)
    client.json("get", "customers", status=401)
    kinds = list(AuditEntry.objects.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["api_key.made", "api_key.first_used", "api_key.revoked"]


def test_a_session_alone_opens_nothing(alice: User, acme: Customer) -> None:
    browser = ApiClient("")
    browser.force_login(alice)
    browser.json("get", "customers", status=401)


def test_a_key_in_an_address_is_refused_and_masked_in_logs(api: Keys, caplog: pytest.LogCaptureFixture) -> None:
    key, plain = keys.issue(name="k", scopes=["customers"], by=None)
    for path in (f"/api/v1/customers?key={plain}", f"/api/v1/{plain}/x", f"/api/v1/customers?after={plain}"):
        answer = api().get(path)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:connect:problem:key-in-url")
        assert plain[13:] not in answer.text

    line = redact(f"GET /x?k={plain}&b=1 and {plain}")
    assert plain[13:] not in line
    assert line.count(f"cok_{key.prefix}_[redacted]") == 2


@pytest.mark.parametrize("path", ["customers", "connections/nosuchcode22/proxy/user", "nowhere"])
def test_a_host_that_is_not_ours_is_told_as_a_problem(path: str, api: Keys) -> None:
    client = api()
    client.defaults["SERVER_NAME"] = "evil.example"
    answer = client.call("get", path)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["type"] == "urn:connect:problem:bad-request"
    assert "ALLOWED_HOSTS" in answer.json()["detail"]
    assert "evil.example" not in answer.text + str(answer.headers)


def test_an_answer_names_its_request_is_kept_nowhere_and_runs_nothing_in_a_browser(api: Keys) -> None:
    for path in ("customers", "openapi.json", "nowhere"):
        answer = api().call("get", path)
        assert re.fullmatch(r"[0-9a-f]{16}", answer["X-Request-ID"])
        assert "no-store" in answer["Cache-Control"]
        assert answer["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        assert (answer["X-Content-Type-Options"], answer["X-Frame-Options"]) == ("nosniff", "DENY")
        assert answer["Content-Length"] == str(len(answer.content))
        assert not answer.cookies


def test_http_is_refused_where_https_is_the_rule(api: Keys, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = api().call("get", "customers")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:connect:problem:https-required")
    assert "Location" not in answer


def test_the_requests_of_a_minute_are_limited_and_the_headers_count_them(api: Keys, settings: Settings) -> None:
    settings.API_REQUESTS_A_MINUTE = 3
    client = api()
    answers = [client.call("get", "customers") for _ in range(5)]
    statuses = [answer.status_code for answer in answers]
    if statuses != [200] * 3 + [429] * 2:  # a minute has begun meanwhile
        statuses = [client.call("get", "customers").status_code for _ in range(5)][-2:]
        assert statuses == [429, 429]
        return
    assert [re.search(r"r=(\d+)", answer["RateLimit"])[1] for answer in answers] == ["2", "1", "0", "0", "0"]  # type: ignore[index]
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert answers[-1].json()["type"] == "urn:connect:problem:too-many-requests"
    ApiKey.objects.update(minute=0)  # the next minute
    client.json("get", "customers")


def test_requests_at_the_same_moment_are_counted_each(api: Keys) -> None:
    key, _ = keys.issue(name="k", scopes=["customers"], by=None)
    counted: list[int] = []

    def ask() -> None:
        try:
            found = [ApiKey.objects.count_request(key.secret_hash, 7) for _ in range(10)]
            counted.extend(each.requests for each in found if each)
        finally:
            database.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counted) == list(range(1, 41))


def test_a_host_whose_clock_is_behind_does_not_start_the_count_again(db: None) -> None:
    key, _ = keys.issue(name="k", scopes=["customers"], by=None)
    counted = [ApiKey.objects.count_request(key.secret_hash, minute) for minute in (7, 6, 7, 6, 8)]
    assert [(found.minute, found.requests) for found in counted if found] == [(7, 1), (7, 2), (7, 3), (7, 4), (8, 1)]


def test_every_scope_is_explained_and_a_key_needs_one(db: None) -> None:
    assert all(label for _, label in Scope.choices)
    with pytest.raises(ValueError, match="scope"):
        keys.issue(name="k", scopes=[], by=None)
