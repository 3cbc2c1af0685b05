"""Who /user says the token belongs to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.snapinspect.errors import Garbled
from integrations.snapinspect.profile import read_user


@pytest.mark.parametrize(
    ("answer", "company_id"),
    [
        ({"iCompanyID": 6847}, "6847"),
        ({"iCompanyID": "6847"}, "6847"),
        ({"iCompanyID": " 006847 "}, "6847"),
        ({"user": {"account": [{"iCompanyID": 6847}]}}, "6847"),
        ([{"iCompanyID": 6847}, {"iCompanyID": "6847"}], "6847"),
        ({"iCompanyID": 1, "old": {"iCompanyID": 2}}, "1"),
        ({"iCompanyID": None, "user": {"iCompanyID": 2}}, "2"),
        ({"a": {"iCompanyID": 1}, "b": {"iCompanyID": 2}}, None),
        ([{"iCompanyID": 1}, {"iCompanyID": 2}], None),
        ({"iCompanyID": "9" * 20}, "9" * 20),
        ({"iUserID": 1}, None),
        ({"companyId": "6847"}, "6847"),
        ({"user": {"company_id": 6847}}, "6847"),
        ({"name": "Ann", "company": {"id": 6847, "name": "Acme"}}, "6847"),
        ({"CompanyID": 5, "user": {"iCompanyID": 6847}}, "6847"),
        ({"CompanyID": 5, "user": [{"iCompanyID": 1}, {"iCompanyID": 2}]}, None),
        ({"companyId": 5, "company_id": 6}, None),
    ],
)
def test_the_company_id_is_found_at_any_depth_outermost_first(answer: Any, company_id: str | None) -> None:
    assert read_user(answer).company_id == company_id


@pytest.mark.parametrize(
    "value", [True, False, 0, -1, "0", "-5", "+5", 1.5, "1.5", "", "x", "٣", [7], {}, 10**20, "1" * 21, "1e3"]
)
def test_what_is_no_positive_number_is_no_company_id(value: Any) -> None:
    assert read_user({"iUserID": 1, "iCompanyID": value}).company_id is None


@pytest.mark.parametrize(
    ("answer", "name", "email", "company_name"),
    [
        ({"sName": " Ann  Example ", "sEmail": "ann@x.example"}, "Ann Example", "ann@x.example", None),
        ({"sFirstName": "Ann", "sLastName": "Example"}, "Ann Example", None, None),
        ({"first_name": "Ann"}, "Ann", None, None),
        ({"sUserName": "ann", "sDisplayName": "Ann E."}, "Ann E.", None, None),
        ({"sUserName": "ann"}, "ann", None, None),
        ({"sCompanyName": "Acme", "user": {"name": "Ann"}}, "Ann", None, "Acme"),
        ({"user": {"sName": "Ann"}, "company": {"sName": "Acme", "sEmail": "info@x"}}, "Ann", None, "Acme"),
        ({"companies": [{"name": "Acme"}]}, None, None, "Acme"),
        ({"name": 7, "email": None, "user": {"name": "Ann", "email": "a@x"}}, "Ann", "a@x", None),
        ({"name": "A" * 500, "email": "  "}, "A" * 200, None, None),
        ({"name": "Ann\r\nBcc: x"}, "Ann Bcc: x", None, None),
        ({"iUserID": 1}, None, None, None),
    ],
)
def test_names_and_addresses_are_found_under_the_usual_spellings(
    answer: Any, name: str | None, email: str | None, company_name: str | None
) -> None:
    found = read_user(answer)
    assert (found.name, found.email, found.company_name) == (name, email, company_name)
    assert found.details == answer


@pytest.mark.parametrize("answer", [{}, [], "text", 7, None, True, [1], [{}, 1], [[{}]]])
def test_A8_an_answer_about_nobody_is_garbled(answer: Any) -> None:
    with pytest.raises(Garbled) as caught:
        read_user(answer)
    assert caught.value.kind == "no_account"


def test_no_depth_exhausts_the_stack() -> None:
    deep: Any = {"iCompanyID": 7}
    for _ in range(20_000):
        deep = {"a": [deep]}
    assert read_user({"user": deep}).company_id == "7"
    while deep and "a" in deep:  # taken apart by hand: Python frees it recursively otherwise
        deep = deep.pop("a").pop()


_KEYS = st.sampled_from(["iCompanyID", "sName", "email", "company", "", "s", "x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
)


@given(st.dictionaries(_KEYS, _JSON))
def test_no_object_makes_the_reader_raise(answer: Any) -> None:
    assert read_user({"iUserID": 1} | answer).details == {"iUserID": 1} | answer
