"""Actions of staff: asked about on a page of their own first, then done row by row.

What an action does, and that it says so in the audit trail, is up to the room it calls.
"""

import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from accounts.access import current_user

# A request goes on no longer than this (seconds): what is left then is said, and done by asking again.
TIME_LIMIT = 20.0
MAX_MESSAGES = 5

Action = Callable[[Any, HttpRequest, "QuerySet[Any]"], HttpResponse | None]


def confirmed(
    label: str,
    *,
    warning: str,
    most: int = 100,
    permission: str = "act",
    form: type[forms.Form] | None = None,
    tells: Callable[[Any], Iterable[str]] | None = None,
) -> Callable[[Callable[..., str]], Action]:
    """An action out of a method that acts on one row and returns why it did not, or nothing.

    label: the words of the action and of its button. warning: what will happen, in a sentence or two. most: rows at
    once. form: what else is asked; its cleaned data become keyword arguments. tells: what goes with one row.
    """

    def decorate(act: Callable[..., str]) -> Action:
        @admin.action(description=label, permissions=[permission])
        @wraps(act)
        def action(self: Any, request: HttpRequest, chosen: "QuerySet[Any]") -> HttpResponse | None:
            rows = list(chosen[: most + 1])
            if len(rows) > most:
                self.message_user(
                    request, f"{label} works for at most {most} at once. Nothing was done.", messages.ERROR
                )
                return None
            sure = "sure" in request.POST
            asked = form(request.POST if sure else None) if form else None
            if not sure or (asked is not None and not asked.is_valid()):
                context = {
                    **self.admin_site.each_context(request),
                    "title": f"{label}?",
                    "label": label,
                    "warning": warning,
                    "rows": [(row, list(tells(row)) if tells else []) for row in rows],
                    "action": act.__name__,
                    "checkbox": ACTION_CHECKBOX_NAME,
                    "form": asked,
                    "opts": self.opts,
                    "media": self.media,
                }
                return TemplateResponse(request, "admin/confirm.html", context)
            answers = asked.cleaned_data if asked is not None else {}
            _tell(self, request, label, _one_by_one(self, act, rows, by=current_user(request), **answers))
            if len(rows) == 1 and self.model.objects.filter(pk=rows[0].pk).exists():
                return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", rows[0].pk)
            return None

        return action

    return decorate


def _one_by_one(model_admin: Any, act: Callable[..., str], rows: list[Any], **answers: Any) -> list[tuple[str, str]]:
    """What became of each row: its name, and why it was not done."""
    give_up_at = time.monotonic() + TIME_LIMIT
    told = []
    for row in rows:
        name = str(row)
        late = time.monotonic() > give_up_at
        told.append((name, "not done yet, it took too long; ask again" if late else act(model_admin, row, **answers)))
    return told


def _tell(model_admin: Any, request: HttpRequest, label: str, told: list[tuple[str, str]]) -> None:
    left_out = [(name, why) for name, why in told if why]
    done = len(told) - len(left_out)
    if done:
        model_admin.message_user(request, f"{label}: done for {done}.", messages.SUCCESS)
    for name, why in left_out[:MAX_MESSAGES]:
        model_admin.message_user(request, f"{label}: {name}: {why}", messages.WARNING)
    if len(left_out) > MAX_MESSAGES:
        model_admin.message_user(request, f"… and {len(left_out) - MAX_MESSAGES} more.", messages.WARNING)
