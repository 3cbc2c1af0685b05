"""The API: `/user` and `/inspections`."""

from .client import DEADLINE, SandboxClient


def test_the_api_requires_a_live_access_token(client: SandboxClient) -> None:
    pair = client.grant()
    for token in ("", "never-issued", pair["refresh_token"]):
        refused = client.get("user", token)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    client.control("POST", "revoke", token=pair["access_token"])
    assert client.get("user", pair["access_token"]).status_code == 401
    assert client.exchange(pair["refresh_token"]).status_code == 200


def test_user_includes_the_company_except_for_the_account_without(client: SandboxClient) -> None:
    assert client.get("user", client.grant(501)["access_token"]).json() == {
        "iUserID": 501,
        "sName": "Pat Harbour",
        "sEmail": "pat@harbour.example",
        "company": {"iCompanyID": 6847, "sCompanyName": "Harbour Property"},
    }
    assert "7250" not in client.get("user", client.grant(701)["access_token"]).text


def test_a_token_sees_its_own_company_only(client: SandboxClient) -> None:
    token = client.grant(601)["access_token"]
    assert {row["iCompanyID"] for row in client.get("inspections", token).json()["inspections"]} == {7001}
    assert client.get("inspections/1388601", token).json()["iCompanyID"] == 7001
    for unseen in ("inspections/1388561", "inspections/1", "inspections/x", "user/1", "nothing"):
        assert client.get(unseen, token).status_code == 404


def test_inspections_are_paged_and_can_be_limited_to_changes_since_a_moment(client: SandboxClient) -> None:
    token = client.grant(501)["access_token"]
    made = [client.control("POST", "inspections", company=6847, title=f"No. {number}") for number in range(25)]
    seen, following = [], f"{client.url}inspections?since={made[0]['dtUpdated'].replace('+', '%2B')}"
    while following:
        page = client.get(following.removeprefix(client.url), token).json()
        seen += [row["iInspectionID"] for row in page["inspections"]]
        following = page["next"]
    assert seen == [inspection["iInspectionID"] for inspection in made]
    assert len(client.get("inspections?page=2", token).json()["inspections"]) == 7
    assert client.get("inspections?since=yesterday", token).status_code == 400


def test_other_addresses_and_methods_are_refused(client: SandboxClient) -> None:
    assert client.get("nowhere").json()["error"] == "not_found"
    assert client.http.delete(f"{client.url}user", timeout=DEADLINE).status_code == 405


def test_an_inspection_is_made_by_a_post_with_a_live_token(client: SandboxClient) -> None:
    token = client.grant(601)["access_token"]
    address, headers = f"{client.url}inspections", {"Authorization": f"Bearer {token}"}
    made = client.http.post(address, json={"sTitle": "Made"}, headers=headers, timeout=DEADLINE)
    assert (made.status_code, made.json()["iCompanyID"]) == (201, 7001)
    assert client.get(f"inspections/{made.json()['iInspectionID']}", token).json()["sTitle"] == "Made"
    assert client.http.post(address, json={"sTitle": "Made"}, timeout=DEADLINE).status_code == 401
    for body in ("x", "{}", '{"sTitle": 1}', "[]"):
        assert client.http.post(address, data=body, headers=headers, timeout=DEADLINE).status_code == 400
