"""The API, the personal access tokens, and what people do to inspections."""

import re

from .remote import DEADLINE, PREFIX, Remote


def test_the_api_wants_a_live_access_token(remote: Remote) -> None:
    pair = remote.grant()
    for token in ("", "never-minted", pair["refresh_token"]):
        refused = remote.get("user", token)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    remote.control("POST", "revoke", token=pair["access_token"])
    assert remote.get("user", pair["access_token"]).status_code == 401
    assert remote.exchange(pair["refresh_token"]).status_code == 200


def test_user_names_its_company_unless_the_company_is_the_one_nobody_knows(remote: Remote) -> None:
    assert remote.get("user", remote.grant(501)["access_token"]).json() == {
        "iUserID": 501,
        "sName": "Pat Harbour",
        "sEmail": "pat@harbour.example",
        "company": {"iCompanyID": 6847, "sCompanyName": "Harbour Property"},
    }
    assert "7250" not in remote.get("user", remote.grant(701)["access_token"]).text


def test_a_token_sees_its_own_company_only(remote: Remote) -> None:
    token = remote.grant(601)["access_token"]
    for resource in ("inspections", "assets"):
        rows = remote.get(resource, token).json()[resource]
        assert {row["iCompanyID"] for row in rows} == {7001}
    assert remote.get("inspections/1388601", token).json()["iCompanyID"] == 7001
    for unseen in ("inspections/1388561", "inspections/1", "inspections/x", "user/1", "nothing"):
        assert remote.get(unseen, token).status_code == 404


def test_inspections_are_paged_and_can_be_asked_for_since_a_moment(remote: Remote) -> None:
    token = remote.grant(501)["access_token"]
    made = [remote.control("POST", "inspections", company=6847, title=f"No. {number}") for number in range(25)]
    seen, following = [], f"{remote.url}inspections?since={made[0]['dtUpdated'].replace('+', '%2B')}"
    while following:
        page = remote.get(following.removeprefix(remote.url), token).json()
        seen += [row["iInspectionID"] for row in page["inspections"]]
        following = page["next"]
    assert seen == [inspection["iInspectionID"] for inspection in made]
    assert len(remote.get("inspections?since=0&page=2", token).json()["inspections"]) == 7
    assert remote.get("inspections?since=yesterday", token).status_code == 400


def test_a_personal_access_token_is_shown_once_works_like_an_access_token_and_can_be_revoked(remote: Remote) -> None:
    path = "integration/PersonalAccessTokens"
    for bad in ({"account": "999"}, {"account": "501", "webhook_url": "http://elsewhere.example/"}):
        assert remote.post(path, bad).status_code == 400
    issued = remote.post(path, {"account": "501", "webhook_url": "https://hooks.example/<1>"})
    (token,) = re.findall(rf"<code>({PREFIX}[^<]+)</code>", issued.text)
    assert remote.get("user", token).status_code == 200
    listed = remote.get(path).text
    assert token not in listed
    assert "https://hooks.example/&lt;1&gt;" in listed
    (serial,) = re.findall(r'name="token" value="(\d+)"', listed)
    assert remote.post(path, {"action": "revoke", "token": serial}).status_code == 303
    assert remote.get("user", token).status_code == 401


def test_what_people_do_to_an_inspection_shows_in_the_api_and_becomes_a_documented_event(remote: Remote) -> None:
    path, token = "sandbox/inspections", remote.grant(501)["access_token"]

    def does(**fields: str) -> int:
        return remote.post(path, fields).status_code

    assert does(action="upload", company="6847", title="<New>") == 303
    assert "&lt;New&gt;" in remote.get(path).text
    (number,) = (
        row["iInspectionID"]
        for row in remote.get("inspections", token).json()["inspections"]
        if row["sTitle"] == "<New>"
    )
    assert does(action="status", inspection=str(number), status="sample status") == 303
    assert does(action="review", inspection=str(number)) == 303
    (review,) = remote.get(f"inspections/{number}", token).json()["reviews"]
    signature = {"action": "sign", "inspection": str(number), "review": str(review["iInsReviewID"])}
    assert does(**signature) == 303
    assert does(**signature) == 400
    assert does(action="upload", company="1") == does(action="paint", inspection=str(number)) == 400

    record = remote.get(f"inspections/{number}", token).json()
    assert (record["sStatus"], record["reviews"][0]["bSigned"]) == ("sample status", True)
    where = {"iInspectionID": number, "iCompanyID": 6847}
    reviewed = {"iInsReviewID": review["iInsReviewID"], **where}
    assert [event["payload"] for event in remote.control("GET", "events")] == [
        {"sType": "Create_Inspection", **where},
        {"sType": "Update_Inspection_Status", **where, "sStatus": "sample status"},
        {"sType": "Create_Review", **reviewed},
        {"sType": "Review_Signed", **reviewed},
    ]


def test_small_things_browsers_and_clients_ask_for(remote: Remote) -> None:
    assert "Stand-in for SnapInspect" in remote.get("").text
    assert remote.get("favicon.ico").status_code == 204
    head = remote.http.head(remote.url, timeout=DEADLINE)
    assert (head.status_code, head.content) == (200, b"")
    assert remote.get("nowhere").json()["error"] == "not_found"
    assert remote.http.delete(f"{remote.url}user", timeout=DEADLINE).status_code == 405
