"""Answers with status 2xx that report a failure: a status is no proof by itself."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.snapinspect.error_answers import content, problem
from integrations.snapinspect.errors import Garbled, SnapInspectError, TokenRefused
from integrations.snapinspect.profile import read_user

PERSON = {"iUserID": 501, "sName": "Ann", "iCompanyID": 6847}

UNAUTHORIZED: list[Any] = [
    {"Message": "Authorization has been denied for this request."},
    {"d": {"Message": "Authorization has been denied for this request."}},
    {"success": False, "message": "Unauthorized"},
    {"success": False, "error": {"code": "INVALID_TOKEN", "message": "See the manual."}},
    {"success": "false", "code": 401},
    {"IsSuccess": False, "ErrorMessage": "Access denied"},
    {"bSuccess": 0, "sMessage": "Token expired"},
    {"error": "invalid_token", "error_description": "The access token expired"},
    {"error": "InvalidToken"},
    {"errors": [{"status": "401", "title": "Not authorised"}]},
    {"status": 401},
    {"status": "unauthorized"},
    {"statusCode": "401", "message": "Nope"},
    {"code": "InvalidAuthenticationToken", "message": "Access token has expired or is not yet valid."},
    {"name": "UnauthorizedError", "message": "jwt expired", "status": 401},
    {"timestamp": "2026-01-01T00:00:00Z", "status": 401, "error": "Unauthorized", "path": "/user"},
    {"type": "https://tools.ietf.org/html/rfc7235#section-3.1", "title": "Unauthorized", "status": 401, "traceId": "1"},
    {"data": None, "success": False, "message": "Your token is no longer valid: it was revoked."},
    [{"Message": "Authorization has been denied for this request."}],
    {"authenticated": False},
    {"IsAuthenticated": "no"},
    {"bAuthorized": 0, "iUserID": 0},
    {"valid": False, "reason": "x"},
    {"active": False},
    {"err": "invalid token"},
    {"errcode": 40001, "errmsg": "invalid credential, access_token is not the newest"},
    {"error_summary": "expired_access_token/", "error": {".tag": "expired_access_token"}},
    {"detail": "Authentication credentials were not provided."},
    {"d": None, "Message": "Authorization has been denied for this request."},
    {"errorCode": "INVALID_SESSION_ID", "items": []},
    {"success": False, "message": "You must sign in to continue"},
]
# Where nobody is named, further than on the outermost level.
NOBODY_UNAUTHORIZED: list[Any] = [
    "Authorization has been denied for this request.",
    {"info": "Unauthorized"},
    {"text": "Invalid token"},
    {"response": {"error": "invalid_token"}, "version": "1.0"},
    {"meta": {"code": 401}, "version": 2},
]
FAILED: list[Any] = [
    {"success": False},
    {"Success": "False", "Message": "An error has occurred."},
    {"ok": False, "description": "Try again later."},
    {"ok": 0},
    {"error": "Something went wrong"},
    {"error": True},
    {"errors": ["Down for maintenance"]},
    {"Errors": {"0": "x"}, "user": None},
    {"hasError": True, "data": {}},
    {"status": "error"},
    {"Status": "FAIL", "data": None},
    {"status": 503, "title": "Service unavailable"},
    {"status": 404.0},
    {"code": "500", "msg": "x"},
    {"ExceptionMessage": "Object reference not set", "ExceptionType": "System.NullReferenceException"},
    {"message": "Site under maintenance"},
    {"success": False, **PERSON},
    {"status": "error", "sName": "Ann"},
    {"success": "N", "data": PERSON},
    {"result": "failed", "data": PERSON},
    {"errorMsg": "x"},
    {"err": "x"},
    {"sErrorText": "x", "iCode": 7},
    {"validationErrors": ["x"]},
    {"faultstring": "x", "faultcode": "y"},
    {"isFailed": True},
    {"IsSuccessStatusCode": False},
    {"authenticated": True},
    {"response": "error"},
    {"state": "failed"},
    {"data": {"success": False}, "version": 1},
]
EMPTY: list[Any] = [
    {}, [], [{}], None, "", "OK", 0, True, [None], {"success": True}, {"status": "ok"}, {"data": {}}, {"user": None},
    {"success": True, "data": None}, {"success": True, "data": {"error": ""}}, [PERSON, {}], {"iUserID": ""},
    {"iUserID": 0, "iCompanyID": 0, "bLocked": False}, {"count": 0, "items": []}, {"data": [{}, None]}, "Try later",
]  # fmt: skip
ABOUT_SOMEBODY: list[Any] = [
    PERSON,
    {"success": True, **PERSON},
    {"success": True, "error": None, "errors": [], "data": PERSON},
    {"ok": 1, "error": "", "message": "", "user": PERSON},
    {"status": "success", "code": 200, "data": [PERSON]},
    {"status": "Active", **PERSON},
    {"error": "Your trial ends soon", **PERSON},
    {"errors": [{"code": 17}], "result": PERSON},
    {"code": "500", **PERSON},
    {"title": "Mr", "message": "I am away", **PERSON},
    {"sStatus": "Failed", **PERSON},
    {"anything": "else"},
    {"errorCode": 0, "errorMessage": "", **PERSON},
    {"IsError": False, "hasErrors": "false", "payload": PERSON},
    {"iUserID": 5, "active": False},
    {"iUserID": 5, "subscription": {"status": "failed"}},
    {"sName": "Ann", "data": {"error": "no picture"}},
    {"iUserID": 5},
    [PERSON, PERSON],
]


@pytest.mark.parametrize("answer", UNAUTHORIZED + NOBODY_UNAUTHORIZED, ids=str)
def test_a_user_answer_that_says_unauthorized_refuses_the_token(answer: Any) -> None:
    with pytest.raises(TokenRefused):
        read_user(answer)


@pytest.mark.parametrize("answer", FAILED + EMPTY, ids=str)
def test_a_user_answer_that_fails_or_tells_nothing_is_about_nobody(answer: Any) -> None:
    with pytest.raises(Garbled) as caught:
        read_user(answer)
    assert caught.value.kind == "no_account"


@pytest.mark.parametrize("answer", ABOUT_SOMEBODY, ids=str)
def test_a_user_answer_with_content_is_about_somebody(answer: Any) -> None:
    assert read_user(answer).details == answer


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        None,
        {"inspections": [], "page": 1, "next": None},
        {"inspections": [], "message": "None found"},
        {"count": 0, "items": []},
        {"success": True, "data": []},
        {"data": []},
        {"status": "ok"},
        {"iInspectionID": 5, "sStatus": "Failed", "sTitle": "Boiler"},
        {"iInspectionID": 5, "status": "failed", "reviews": []},
        {"inspections": [{"iInspectionID": 5}], "errors": ["1 left out"]},
    ],
    ids=str,
)
def test_other_answers_may_be_empty_and_records_may_have_a_status_of_their_own(answer: Any) -> None:
    assert problem(answer) == ""


@pytest.mark.parametrize("answer", [item for item in UNAUTHORIZED if isinstance(item, dict)], ids=str)
def test_any_answer_that_says_unauthorized_is_read_as_that(answer: Any) -> None:
    assert problem(answer) == "unauthorized"


def test_no_depth_exhausts_the_stack() -> None:
    deep: Any = {"success": False}
    for _ in range(20_000):
        deep = {"data": deep}
    assert problem(deep) == "failed"
    assert content(deep) == {}
    while "data" in deep:  # taken apart by hand: Python frees it recursively otherwise
        deep = deep.pop("data")


_KEYS = st.sampled_from(["success", "Error", "status", "message", "data", "iCompanyID", "sStatus", "", "ok", "name"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
)


@given(_JSON)
def test_every_json_value_is_read_or_refused(answer: Any) -> None:
    assert problem(answer) in {"", "failed", "unauthorized"}
    try:
        assert read_user(answer).details == answer
    except SnapInspectError as error:
        assert error.kind in {"token_refused", "no_account"}
