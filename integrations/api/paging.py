"""Pages of a list, each with the cursor of the next."""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.core.signing import BadSignature, Signer
from django.db.models import Model, QuerySet

from integrations.api.problems import Problem

Row = TypeVar("Row", bound=Model)


def page(rows: "QuerySet[Row]", *, after: str, limit: int) -> tuple[list[Row], str | None]:
    """The rows after this cursor in the order of their keys, and the cursor of the rows behind them, if there are any.

    Rows that are deleted between two pages do not matter: a cursor is a position. It is signed, and good for a list of
    the same model only. The code of a row is a cursor, too. Raises Problem (422).
    """
    start = _position(rows, after) if after else 0
    found = list(rows.filter(pk__gt=start).order_by("pk")[: limit + 1])
    if len(found) <= limit:
        return found, None
    return found[:limit], cursor_after(found[:limit])


def cursor_after(items: Sequence[Model]) -> str:
    """The cursor of what comes behind these rows."""
    last = items[-1]
    return _signer(type(last)).sign(str(last.pk))


def page_of_values(
    rows: "QuerySet[Any]", names: Sequence[str], *, after: str, limit: int
) -> tuple[list[tuple[Any, ...]], str | None, str | None]:
    """Like `page`, for the values of these columns alone; and the cursor of what comes behind the last of them."""
    start = _position(rows, after) if after else 0
    found = list(rows.filter(pk__gt=start).order_by("pk").values_list("pk", *names)[: limit + 1])
    if not found:
        return [], None, after or None
    is_last = len(found) <= limit
    found = found[:limit]
    cursor = _signer(rows.model).sign(str(found[-1][0]))
    return [values for _, *values in found], None if is_last else cursor, cursor


def _position(rows: "QuerySet[Any]", after: str) -> int:
    try:
        return int(_signer(rows.model).unsign(after))
    except BadSignature:
        pk: int | None = rows.filter(code=after).values_list("pk", flat=True).first()
        if pk is None:
            raise Problem(
                "invalid",
                "This cursor is not one of this list. Begin without one.",
                errors=[
                    {"field": "query.after", "detail": "This is neither a cursor of this list nor the code of a row."}
                ],
            ) from None
        return pk


def _signer(model: type[Model]) -> Signer:
    return Signer(salt=f"integrations.api.{model._meta.label_lower}", sep=".")
