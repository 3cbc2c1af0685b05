"""The pages of a listing follow each other however the next one is named."""

import json
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from integrations.events import recovery
from integrations.models import Connection
from tests.snapinspect.remotes import Call, Wire, http, remote

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.interface]


@pytest.mark.parametrize(
    "following",
    [
        {"next": "inspections?page=2"},
        {"next": "?page=2"},
        {"next": "/v3/inspections?page=2"},
        {"next": "/inspections?page=2"},
        {"next": "{base}inspections?page=2"},
        {"next": {"href": "?page=2"}},
        {"links": {"next": "{base}inspections?page=2", "prev": None}},
        {"_links": {"next": {"href": "/v3/inspections?page=2"}}},
        {"@odata.nextLink": "{base}inspections?page=2"},
        {"nextPage": "?page=2", "next": None},
    ],
    ids=str,
)
def test_the_next_page_is_found(following: dict[str, Any], connection: Connection, settings: Settings) -> None:
    def answer(call: Call, wire: Wire) -> bytes:
        if call.target == "/v3/inspections?page=2":
            return http({"inspections": [{"iInspectionID": 2}], "next": None})
        page = json.dumps({"inspections": [{"iInspectionID": 1}], **following})
        return http(page.replace("{base}", settings.SNAPINSPECT_API_URL))

    with remote(answer) as server:
        settings.SNAPINSPECT_API_URL = f"{server.url}/v3/"
        report = recovery.recover(connection, since=timezone.now(), dry_run=True)
    assert (report.listed, report.pages, report.flag) == (2, 2, "")


@pytest.mark.parametrize(
    "odd", [{"next": True}, {"next": ["x"]}, {"next": {"page": 2}}, {"next": 2}, {"next": "//a/b"}]
)
def test_an_address_that_is_none_is_flagged_and_not_taken_for_the_end(
    odd: dict[str, Any], connection: Connection, settings: Settings
) -> None:
    def answer(call: Call, wire: Wire) -> bytes:
        return http({"inspections": [{"iInspectionID": 1}], **odd} if "since" in call.target else "no", status=200)

    with remote(answer) as server:
        settings.SNAPINSPECT_API_URL = server.url
        report = recovery.recover(connection, since=timezone.now(), dry_run=True)
    assert report.listed == 1
    assert "next page" in report.flag
