"""What a panel shows of a connection: fetched when the stored answer is too old, else as stored.

`load` never raises because of SnapInspect: every failure of a path ends in a `PanelContent` that says so, and the other
panels of the page are not affected.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.kept_queries import KeptQuery
from integrations.calls import api_client, health_check, tables
from integrations.calls.api_client import NoAnswer
from integrations.calls.tables import Table
from integrations.models import Connection, Panel, PanelAnswer, State
from integrations.snapinspect import json_text
from integrations.snapinspect.errors import BadPath

LONGEST_WHOLE = 20_000  # characters
_active = KeptQuery(lambda _: Panel.objects.active())


@dataclass(frozen=True, slots=True)
class PanelContent:
    """What a panel shows now.

    table: the last good answer. error_kind: why there is no newer one, or empty; detail explains it to staff.
    is_waiting: another request is fetching it, or too many calls are under way; try again soon.
    """

    table: Table | None = None
    fetched_at: datetime | None = None
    error_kind: str = ""
    status: int | None = None
    detail: str = ""
    is_waiting: bool = False


def all_panels() -> list[Panel]:
    """The panels of every dashboard, the built-in one first."""
    return [Panel.built_in(), *_active(0)]


def find(code: str) -> Panel | None:
    """The active panel with this code."""
    return Panel.built_in() if code == Panel.BUILT_IN else Panel.objects.active().filter(code=code).first()


def is_available(connection: Connection) -> bool:
    """Whether panels of this connection have something to show: it can be called, or has been before."""
    return connection.is_usable or connection.state == State.NEEDS_RECONNECT


def load(panel: Panel, connection: Connection) -> PanelContent:
    """What this panel shows of this connection. One of concurrent requests calls SnapInspect, if it is due."""
    if not is_available(connection):
        return PanelContent(error_kind="nothing_kept")
    kept, _ = PanelAnswer.objects.get_or_create(panel_id=panel.pk, connection=connection)
    if not connection.is_usable:
        return _content(kept, error_kind="needs_reconnect")
    if PanelAnswer.objects.due().filter(pk=kept.pk).exists():
        if not kept.claim():
            return _content(kept, is_waiting=True)
        try:
            found = fetch(panel, connection)
        except NoAnswer as failure:
            if failure.error_kind == "busy":
                kept.release()
                return _content(kept, is_waiting=True)
            kept.note_failure(
                failure.error_kind,
                status=failure.status,
                detail=failure.detail,
                may_show_last=failure.is_outage or failure.error_kind == "token_refused",
            )
        else:
            kept.keep(found.stored(), seconds=panel.refresh_seconds)
    # Without any result yet, another request is making the first call.
    return _content(kept, is_waiting=kept.fetched_at is None and not kept.error_kind)


def fetch(panel: Panel, connection: Connection) -> Table:
    """The panel's table, fetched now and not stored. Raises NoAnswer."""
    return _account(connection) if panel.is_built_in else _rows(panel, connection)


def _rows(panel: Panel, connection: Connection) -> Table:
    try:
        answer = api_client.peek(connection, panel.path)
        return tables.build_table(answer.json, rows_at=panel.rows_at, shown=tables.parse_columns(panel.columns))
    except BadPath as bad:
        raise NoAnswer(bad.kind, is_outage=False) from None
    except (tables.UnexpectedShape, tables.BadDefinition) as misfit:
        raise NoAnswer("wrong_shape", is_outage=False, status=answer.status, detail=str(misfit)) from None


def _account(connection: Connection) -> Table:
    """`/user`, whose answer is not documented: the members that `profile` recognizes, and the whole answer beside."""
    verdict = health_check.peek(connection)
    if verdict.profile is None:
        raise NoAnswer(verdict.error_kind, is_outage=True)
    profile = verdict.profile
    company = " · ".join(filter(None, (profile.company_id, profile.company_name))) or "not known yet"
    told = {"Name": profile.name or "Unknown", "Email": profile.email, "Company": company}
    cells = {label: tables.to_cell(value) for label, value in told.items() if value}
    whole, is_cut = json_text.laid_out(profile.details, most=LONGEST_WHOLE)
    return Table(list(cells), [list(cells.values())], 1, [], whole + (json_text.CUT if is_cut else ""))


def _content(kept: PanelAnswer, *, is_waiting: bool = False, error_kind: str = "") -> PanelContent:
    stored: dict[str, Any] | None = kept.table
    return PanelContent(
        table=None if stored is None else Table.restored(stored),
        fetched_at=kept.fetched_at,
        error_kind=error_kind or kept.error_kind,
        status=kept.status,
        detail=kept.detail,
        is_waiting=is_waiting,
    )
