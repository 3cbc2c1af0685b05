"""Panels in the admin: mistakes are explained, changes are audited, and a panel can be tried first."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command

from accounts.models import User
from bench.management.commands import demo
from integrations.calls import panels
from integrations.models import Connection, Panel, PanelAnswer
from tests.support.clients import Sandbox, Visitor, audited
from tests.support.panels import answers, part
from tests.support.running_app import ROOT

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


FORM = {
    "title": "Latest",
    "path": "inspections?sort=newest",
    "rows_at": "inspections",
    "columns": "Inspection: sTitle\r\nState: sStatus",
    "refresh_seconds": "60",
    "position": "0",
    "is_active": "on",
}


ADD = "/admin/integrations/panel/add/"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("path", "//evil.example/user", "Enter a path under"),
        ("path", "https://evil.example/user", "Enter a path under"),
        ("path", "../user", "Enter a path under"),
        ("path", "user\nHost: x", "Enter a path under"),
        ("rows_at", "a..b", "a dot too many"),
        ("columns", "sTitle", "is not a column"),
        ("columns", ": sTitle", "is not a column"),
        ("columns", "Title: a..b", "a dot too many"),
        ("columns", "A: a\nA: b", "the same label"),
        ("columns", "\n".join(f"C{number}: c" for number in range(13)), "at most 12 columns"),
        ("columns", "x" * 61 + ": a", "longer than 60"),
        ("columns", " \n ", "This field is required"),
        ("refresh_seconds", "9", "greater than or equal to 10"),
        ("refresh_seconds", "9" * 30, "less than or equal to 86400"),
        ("position", "9" * 30, "less than or equal to"),
        ("title", "a\0b", "Null characters are not allowed"),
    ],
)
def test_the_admin_says_what_is_wrong_with_a_definition(
    field: str, value: str, said: str, visit: Visit, staff: User
) -> None:
    answer = visit(staff).post(ADD, FORM | {field: value})
    assert answer.status_code == 200 and said in answer.text
    assert not Panel.objects.exists()


def test_a_panel_is_saved_with_an_audit_entry_and_what_it_showed_before_goes(
    visit: Visit, staff: User, alice: User, connection: Connection
) -> None:
    browser = visit(staff)
    assert browser.post(ADD, FORM).status_code == 302
    panel = Panel.objects.get()
    assert "3 Quay Lane" in part(visit(alice), connection, panel)

    change = f"/admin/integrations/panel/{panel.pk}/change/"
    assert "Preview</h2>" in browser.get(change).text
    assert browser.post(change, FORM | {"columns": "Number: iInspectionID"}).status_code == 302
    page = part(visit(alice), connection, panel)
    assert "1388562" in page and "Quay Lane" not in page
    assert audited("panel.saved") == 2
    assert browser.post(f"/admin/integrations/panel/{panel.pk}/delete/", {"post": "yes"}).status_code == 302
    assert audited("panel.deleted") == 1 and not PanelAnswer.objects.exclude(panel=None).exists()


PREVIEW = "/admin/integrations/panel/preview/"


def test_the_preview_shows_what_the_form_says_with_a_connection_of_ones_choice_and_keeps_nothing(
    sandbox: Sandbox, visit: Visit, staff: User, connection: Connection
) -> None:
    browser, chosen = visit(staff), {"connection": str(connection.pk)}

    assert "The response is not stored" in browser.get(ADD).text
    assert "12 Harbour Street" in browser.post(PREVIEW, FORM | chosen).text
    assert "“nowhere” ends at “nowhere”" in browser.post(PREVIEW, FORM | chosen | {"rows_at": "nowhere"}).text
    assert audited("panel.tried_by_staff") == 2
    assert "Columns: " in browser.post(PREVIEW, FORM | chosen | {"columns": "sTitle"}).text
    for odd in ("", "x", "9" * 30, "a\0", "0"):
        answer = browser.post(PREVIEW, FORM | {"connection": odd})
        assert answer.status_code == 200 and "Connection: " in answer.text
    assert browser.get(PREVIEW).status_code == 302
    assert audited("panel.tried_by_staff") == 2
    assert not Panel.objects.exists() and not PanelAnswer.objects.exclude(panel=None).exists()


def test_the_picker_finds_a_connection_by_its_customer_and_tells_it_from_others(
    visit: Visit, staff: User, alice: User, connection: Connection
) -> None:
    asked = {"app_label": "integrations", "model_name": "panelanswer", "field_name": "connection"}
    for term in (connection.code, connection.company_id, connection.customer.name):
        answer: Any = visit(staff).get("/admin/autocomplete/", {**asked, "term": term})
        (found,) = answer.json()["results"]
        assert found == {"id": str(connection.pk), "text": connection.name_for_staff}
        assert connection.code in found["text"] and connection.customer.name in found["text"]
    assert visit(alice).get("/admin/autocomplete/", {**asked, "term": ""}).status_code in {302, 403}


def test_staff_without_the_permission_to_act_on_connections_have_no_preview(
    visit: Visit, staff: User, bob: User, connection: Connection
) -> None:
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.set(Permission.objects.filter(codename__in=["add_panel", "change_panel", "view_panel"]))
    assert "Preview</h2>" in visit(staff).get(ADD).text
    assert "Preview</h2>" not in visit(bob).get(ADD).text
    assert visit(bob).post(PREVIEW, FORM | {"connection": str(connection.pk)}).status_code == 403


def test_the_example_of_make_run_fits_the_stand_in_and_leaves_other_panels_alone(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    call_command("demo")
    call_command("demo")
    panel = Panel.objects.get()
    assert panels.fetch(panel, connection).notes == []
    assert panel.title == demo.PANEL["title"]
    assert "3 Quay Lane" in part(visit(alice), connection, panel)


def test_the_example_of_the_documents_shows_what_they_say(
    sandbox: Sandbox, visit: Visit, staff: User, alice: User, connection: Connection
) -> None:
    document = (ROOT / "docs/panels.md").read_text()
    blocks = dict(re.findall(r"```(json|text)\n(.*?)```", document, re.DOTALL))
    rows = re.findall(r"^\| (.*) \|$", document.partition("every customer sees")[2], re.MULTILINE)
    expected = [row.split(" | ") for row in rows]
    answers(sandbox, "/jobs/open", blocks["json"].encode())
    form = FORM | {"path": "jobs/open", "rows_at": "result.jobs", "columns": blocks["text"]}
    assert visit(staff).post(ADD, form).status_code == 302

    page = part(visit(alice), connection, Panel.objects.get())
    cells = [re.sub(r"<[^>]*>|nothing", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", page, re.DOTALL)]
    assert cells == [cell for row in expected for cell in row]
