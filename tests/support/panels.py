"""Defines panels, makes the stand-in answer for them, and reads what they show."""

import base64
import json
from typing import Any

from django.db.models.functions import Now

from integrations.models import Connection, Panel, PanelAnswer
from tests.support.clients import Sandbox, Visitor


def define(path: str = "inspections", **fields: Any) -> Panel:
    told = {"title": "Inspections", "rows_at": "inspections", "columns": "Title: sTitle", "is_active": True}
    return Panel.objects.create(path=path, **(told | fields))


def answers(sandbox: Sandbox, path: str, document: Any, **options: Any) -> None:
    """Has the stand-in answer this at the path; bytes go as they are, anything else as JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    sandbox.fault(path, "raw", body_base64=base64.b64encode(body).decode(), times=None, **options)


def address(connection: Connection, panel: Panel) -> str:
    return f"/c/{connection.customer.code}/connections/{connection.code}/panels/{panel.code}/"


def part(browser: Visitor, connection: Connection, panel: Panel) -> str:
    """What htmx puts into the dashboard."""
    answer = browser.get(address(connection, panel), headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return str(answer.text)


def grow_old(**answer: Any) -> None:
    """The refresh time of what is kept has passed."""
    PanelAnswer.objects.filter(**answer).update(next_ask_at=Now())
