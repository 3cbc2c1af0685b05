"""Reads titles, statuses and facts out of inspections whose shape nobody has documented."""

from typing import Any

import pytest

from integrations.snapinspect import inspection_content

TITLES: list[tuple[Any, str]] = [
    ({"iInspectionID": 1, "sTitle": "Flat 4"}, "Flat 4"),
    ({"iInspectionID": 1, "sInsTitle": "Flat 4"}, "Flat 4"),
    ({"inspection_title": "Flat 4", "name": "no"}, "Flat 4"),
    ({"iInspectionID": 1, "sAddress": "17 Harbour Street", "Name": " Flat\n4 "}, "Flat 4"),
    ({"iInspectionID": 1, "sAddress": "17 Harbour Street"}, "17 Harbour Street"),
    ({"data": {"iInspectionID": "1", "Title": "Flat 4"}, "title": "Answer"}, "Flat 4"),
    ({"iInspectionID": 1, "sTitle": "", "sName": "Flat 4"}, "Flat 4"),
    ({"iInspectionID": 1, "sTitle": ["Flat"], "oInspector": {"sName": "Pat"}}, ""),
    ({"iInspectionID": 1, "sTitle": True}, ""),
    ({"iInspectionID": 1, "sTitle": "a\x00b\u202ec\ud800"}, "a b c"),
    ({}, ""),
    ([], ""),
    (None, ""),
]


@pytest.mark.parametrize(("content", "title"), TITLES, ids=str)
def test_the_title_is_found_by_its_usual_spellings_beside_the_id(content: Any, title: str) -> None:
    assert inspection_content.title_of(content) == title


def test_the_operator_can_name_the_member_that_is_the_title() -> None:
    content: Any = {
        "iInspectionID": 1,
        "sTitle": "Routine",
        "oAsset": {"sLabel": "Flat 4"},
        "list": [{"SLABEL": "later"}],
    }
    assert inspection_content.title_of(content, "slabel") == "Flat 4"
    assert inspection_content.title_of(content, "sNothing") == ""
    assert inspection_content.title_of({"number": 17}, "number") == "17"


def test_status_and_facts_are_the_record_s_own() -> None:
    content: Any = {
        "success": True,
        "data": {
            "iInspectionID": 1,
            "iCompanyID": 6847,
            "sTitle": "Flat 4",
            "sStatus": "Completed",
            "dtDueDate": "2026-11-20T09:00:00Z",
            "bLocked": False,
            "sNote": "",
            "floor_area": 61.5,
            "oInspector": {"sStatus": "away"},
        },
    }
    assert inspection_content.status_of(content) == "Completed"
    assert inspection_content.status_of({"iInspectionID": 1, "oInspector": {"sStatus": "away"}}) == ""
    facts = [("Due date", "2026-11-20T09:00:00Z"), ("Locked", False), ("Floor area", 61.5)]
    assert inspection_content.facts_of(content) == facts


@pytest.mark.parametrize(
    ("content", "inspections", "company"),
    [
        ({"inspectionId": 5, "company_id": "6847"}, {"5"}, "6847"),
        ({"data": {"InspectionID": 5.0, "CompanyID": 7}}, {"5"}, "7"),
        ({"iInspectionID": 5, "InspectionID": 12, "iCompanyID": 6847, "companyid": 7}, {"5"}, "6847"),
        ({"iInspectionID": 5, "company": {"iCompanyID": 7001}}, {"5"}, "7001"),
        ({"iInspectionID": 5, "company": {"id": 3}, "contractor": {"iCompanyID": 99}}, {"5"}, ""),
        ({"iInspectionID": "none", "sTitle": "x"}, set(), ""),
    ],
    ids=str,
)
def test_what_it_is_about_is_read_in_other_spellings(content: Any, inspections: set[str], company: str) -> None:
    assert inspection_content.inspections_of(content) == inspections
    assert inspection_content.company_of(content) == company
    assert set(inspection_content.inspection_ids([content])) == inspections
