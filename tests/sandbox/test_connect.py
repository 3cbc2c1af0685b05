"""The authorization page and the token exchange keep to the vendor's page."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from .remote import ASKED, CONNECT, DEADLINE, EXCHANGE, PREFIX, Remote, breakages, broken, form, returned


def test_the_consent_page_names_the_application_and_offers_the_accounts(remote: Remote) -> None:
    page = remote.get(CONNECT, params=ASKED)
    assert page.status_code == 200
    assert "This is not SnapInspect" in page.text
    assert "Assumed" in page.text
    assert "<strong>Connect</strong> asks for access" in page.text
    assert page.text.count('name="account"') >= 4
    assert re.findall(r'value="(\w+)" checked', page.text) == ["501"]
    assert re.findall(r"<button[^>]*>(\w+)</button>", page.text) == ["Allow", "Deny"]


def test_allow_returns_exactly_the_documented_parameters(remote: Remote) -> None:
    parameters = returned(remote.decide())
    assert [name for name, _ in parameters] == ["access_token", "token_type", "state", "refresh_token"]
    given = dict(parameters)
    assert given["token_type"] == "Bearer"
    assert given["state"] == ASKED["state"]
    assert given["access_token"].startswith(PREFIX)
    assert remote.get("user", given["access_token"]).json()["iUserID"] == 501
    assert remote.exchange(given["refresh_token"]).status_code == 200


def test_deny_returns_an_error_and_mints_nothing(remote: Remote) -> None:
    given = dict(returned(remote.decide("deny")))
    assert given.keys() == {"error", "error_description", "state"}
    assert (given["error"], given["state"]) == ("access_denied", ASKED["state"])
    assert remote.control("GET", "tokens") == []


@pytest.mark.parametrize(("name", "how"), breakages(ASKED))
def test_an_authorization_request_that_does_not_fit_gets_a_page_and_no_redirect(
    remote: Remote, name: str, how: str
) -> None:
    pairs = broken(ASKED, name, how)
    for refused in (
        remote.get(CONNECT, params=pairs),
        remote.post(CONNECT, [*pairs, ("account", "501"), ("decision", "allow")]),
    ):
        assert refused.status_code == 400
        assert "Location" not in refused.headers
        assert f"<li>{name} " in refused.text
    assert remote.control("GET", "tokens") == []


@pytest.mark.parametrize("changes", [{"scope": "all"}, {"account": "999"}, {"account": "x"}, {"decision": "maybe"}])
def test_a_decision_that_does_not_fit_mints_nothing(remote: Remote, changes: dict[str, str]) -> None:
    assert remote.decide(**changes).status_code == 400
    assert remote.control("GET", "tokens") == []


def test_an_undocumented_authorization_parameter_is_refused(remote: Remote) -> None:
    refused = remote.get(CONNECT, params={**ASKED, "scope": "<all>"})
    assert refused.status_code == 400
    assert "scope is not a documented parameter" in refused.text


# Exchange


def test_an_exchange_replaces_both_tokens_at_once(remote: Remote) -> None:
    old = remote.grant()
    answer = remote.exchange(old["refresh_token"])
    new = answer.json()
    assert new.keys() == {"access_token", "token_type", "state", "refresh_token"}
    assert (new["token_type"], new["state"]) == ("Bearer", ASKED["state"])
    assert remote.live() == {new["access_token"], new["refresh_token"]}
    assert remote.get("user", old["access_token"]).status_code == 401
    assert remote.get("user", new["access_token"]).status_code == 200


@pytest.mark.parametrize(("name", "how"), breakages(form("x")))
def test_an_exchange_that_does_not_fit_is_refused_and_changes_nothing(remote: Remote, name: str, how: str) -> None:
    pair = remote.grant()
    refused = remote.post(EXCHANGE, broken(form(pair["refresh_token"]), name, how))
    is_credential = how == "wrong" and name in ("client_id", "client_secret")
    assert refused.status_code == (401 if is_credential else 400)
    assert isinstance(refused.json()["error"], str)
    assert remote.live() == set(pair.values())


def test_an_exchange_takes_no_other_field_content_type_method_or_place(remote: Remote) -> None:
    pair = remote.grant()
    fields = form(pair["refresh_token"])
    assert remote.post(EXCHANGE, {**fields, "grant_type": "refresh_token"}).status_code == 400
    as_json = remote.http.post(remote.url + EXCHANGE, json=fields, timeout=DEADLINE)
    assert as_json.status_code == 400
    assert remote.post(f"{EXCHANGE}?state=again", fields).status_code == 400
    assert remote.get(EXCHANGE, params=fields).status_code == 405
    assert remote.live() == set(pair.values())


def test_an_unknown_refresh_token_is_an_invalid_grant(remote: Remote) -> None:
    access = remote.grant()["access_token"]
    for token in ("never-minted", access):
        refused = remote.exchange(token)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_strict_refuses_a_used_refresh_token_for_ever(remote: Remote) -> None:
    old = remote.grant()
    new = remote.exchange(old["refresh_token"]).json()
    assert remote.exchange(old["refresh_token"]).status_code == 400
    assert remote.get("user", new["access_token"]).status_code == 200


def test_grace_honours_the_token_just_used_once_more_and_kills_the_lost_pair(remote: Remote) -> None:
    remote.control("POST", "mode", mode="grace")
    old = remote.grant()
    lost = remote.exchange(old["refresh_token"]).json()
    found = remote.exchange(old["refresh_token"]).json()
    assert remote.live() == {found["access_token"], found["refresh_token"]}
    assert remote.exchange(old["refresh_token"]).status_code == 400
    assert remote.exchange(lost["refresh_token"]).status_code == 400


def test_grace_ends_when_the_new_pair_is_used(remote: Remote) -> None:
    remote.control("POST", "mode", mode="grace")
    first = remote.grant()["refresh_token"]
    second = remote.exchange(first).json()["refresh_token"]
    assert remote.exchange(second).status_code == 200
    assert remote.exchange(first).status_code == 400


def test_of_many_exchanges_at_once_one_succeeds(remote: Remote) -> None:
    refresh_token = remote.grant()["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: remote.exchange(refresh_token).status_code, range(16)))
    assert sorted(statuses) == [200] + [400] * 15
    assert len(remote.live()) == 2
