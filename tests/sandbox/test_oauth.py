"""The authorization page and the token exchange follow the vendor's page."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from .client import ASKED, CONNECT, DEADLINE, EXCHANGE, PREFIX, SandboxClient, breakages, broken, form, returned


def test_the_authorization_page_names_the_application_and_offers_the_accounts(client: SandboxClient) -> None:
    page = client.get(CONNECT, params=ASKED)
    assert page.status_code == 200
    assert "This is not SnapInspect" in page.text
    assert "Assumed" in page.text
    assert "<strong>Connect</strong> asks for access" in page.text
    assert page.text.count('name="account"') >= 4
    assert re.findall(r'value="(\w+)" checked', page.text) == ["501"]
    assert re.findall(r"<button[^>]*>(\w+)</button>", page.text) == ["Allow", "Deny"]


def test_allow_returns_exactly_the_documented_parameters(client: SandboxClient) -> None:
    parameters = returned(client.decide())
    assert [name for name, _ in parameters] == ["access_token", "token_type", "state", "refresh_token"]
    given = dict(parameters)
    assert given["token_type"] == "Bearer"
    assert given["state"] == ASKED["state"]
    assert given["access_token"].startswith(PREFIX)
    assert client.get("user", given["access_token"]).json()["iUserID"] == 501
    assert client.exchange(given["refresh_token"]).status_code == 200


def test_deny_returns_an_error_and_issues_no_token(client: SandboxClient) -> None:
    given = dict(returned(client.decide("deny")))
    assert given.keys() == {"error", "error_description", "state"}
    assert (given["error"], given["state"]) == ("access_denied", ASKED["state"])
    assert client.control("GET", "tokens")["tokens"] == []


@pytest.mark.parametrize(("name", "how"), breakages(ASKED))
def test_an_authorization_request_that_does_not_match_the_registration_gets_a_page_and_no_redirect(
    client: SandboxClient, name: str, how: str
) -> None:
    pairs = broken(ASKED, name, how)
    for refused in (
        client.get(CONNECT, params=pairs),
        client.post(CONNECT, [*pairs, ("account", "501"), ("decision", "allow")]),
    ):
        assert refused.status_code == 400
        assert "Location" not in refused.headers
        assert f"<li>{name} " in refused.text
    assert client.control("GET", "tokens")["tokens"] == []


@pytest.mark.parametrize("changes", [{"scope": "all"}, {"account": "999"}, {"account": "x"}, {"decision": "maybe"}])
def test_an_invalid_decision_issues_no_token(client: SandboxClient, changes: dict[str, str]) -> None:
    assert client.decide(**changes).status_code == 400
    assert client.control("GET", "tokens")["tokens"] == []


def test_an_undocumented_authorization_parameter_is_refused(client: SandboxClient) -> None:
    refused = client.get(CONNECT, params={**ASKED, "scope": "<all>"})
    assert refused.status_code == 400
    assert "scope is not a documented parameter" in refused.text


# Exchange


def test_an_exchange_replaces_both_tokens_at_once(client: SandboxClient) -> None:
    old = client.grant()
    answer = client.exchange(old["refresh_token"])
    new = answer.json()
    assert new.keys() == {"access_token", "token_type", "state", "refresh_token"}
    assert (new["token_type"], new["state"]) == ("Bearer", ASKED["state"])
    assert client.live() == {new["access_token"], new["refresh_token"]}
    assert client.get("user", old["access_token"]).status_code == 401
    assert client.get("user", new["access_token"]).status_code == 200


@pytest.mark.parametrize(("name", "how"), breakages(form("x")))
def test_an_invalid_exchange_is_refused_and_changes_nothing(client: SandboxClient, name: str, how: str) -> None:
    pair = client.grant()
    refused = client.post(EXCHANGE, broken(form(pair["refresh_token"]), name, how))
    is_credential = how == "wrong" and name in ("client_id", "client_secret")
    assert refused.status_code == (401 if is_credential else 400)
    assert isinstance(refused.json()["error"], str)
    assert client.live() == set(pair.values())


def test_an_exchange_takes_no_other_field_content_type_method_or_place(client: SandboxClient) -> None:
    pair = client.grant()
    fields = form(pair["refresh_token"])
    assert client.post(EXCHANGE, {**fields, "grant_type": "refresh_token"}).status_code == 400
    as_json = client.http.post(client.url + EXCHANGE, json=fields, timeout=DEADLINE)
    assert as_json.status_code == 400
    assert client.post(f"{EXCHANGE}?state=again", fields).status_code == 400
    assert client.get(EXCHANGE, params=fields).status_code == 405
    assert client.live() == set(pair.values())


def test_an_unknown_refresh_token_is_an_invalid_grant(client: SandboxClient) -> None:
    access = client.grant()["access_token"]
    for token in ("never-issued", access):
        refused = client.exchange(token)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_in_strict_mode_a_used_refresh_token_is_refused(client: SandboxClient) -> None:
    old = client.grant()
    new = client.exchange(old["refresh_token"]).json()
    assert client.exchange(old["refresh_token"]).status_code == 400
    assert client.get("user", new["access_token"]).status_code == 200


def test_in_grace_mode_the_last_used_refresh_token_works_once_more_and_ends_the_lost_pair(
    client: SandboxClient,
) -> None:
    client.control("POST", "token_settings", mode="grace")
    old = client.grant()
    lost = client.exchange(old["refresh_token"]).json()
    found = client.exchange(old["refresh_token"]).json()
    assert client.live() == {found["access_token"], found["refresh_token"]}
    assert client.exchange(old["refresh_token"]).status_code == 400
    assert client.exchange(lost["refresh_token"]).status_code == 400


def test_in_grace_mode_an_exchange_of_the_new_pair_ends_the_old_refresh_token(client: SandboxClient) -> None:
    client.control("POST", "token_settings", mode="grace")
    first = client.grant()["refresh_token"]
    second = client.exchange(first).json()["refresh_token"]
    assert client.exchange(second).status_code == 200
    assert client.exchange(first).status_code == 400


def test_of_many_exchanges_at_once_one_succeeds(client: SandboxClient) -> None:
    refresh_token = client.grant()["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: client.exchange(refresh_token).status_code, range(16)))
    assert sorted(statuses) == [200] + [400] * 15
    assert len(client.live()) == 2


def test_new_tokens_can_have_a_given_length(client: SandboxClient) -> None:
    client.control("POST", "token_settings", length=3500)
    given = dict(returned(client.decide()))
    assert len(given["access_token"]) == len(given["refresh_token"]) == 3500
    assert client.get("user", given["access_token"]).status_code == 200
    assert len(client.exchange(given["refresh_token"]).json()["access_token"]) == 3500
