"""Admin actions that ask first, on a page of their own, and then act row by row.

The function that acts on a row also writes the audit entry.
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

# Seconds of one request: rows that are left then are reported as not done.
TIME_LIMIT = 20.0
MAX_MESSAGES = 5

Action = Callable[[Any, HttpRequest, "QuerySet[Any]"], HttpResponse | None]


def confirmed(
    label: str,
    *,
    warning: str,
    limit: int = 100,
    permission: str = "act",
    form: type[forms.Form] | None = None,
    details: Callable[[Any], Iterable[str]] | None = None,
) -> Callable[[Callable[..., str]], Action]:
    """Makes an action of a method that acts on one row and returns an empty string, or why it did nothing.

    label: the words of the action and of its button. warning: what will happen, in a sentence or two. limit: rows at
    once. form: further input; its cleaned data become keyword arguments. details: lines to show below a row.
    """

    def decorate(act: Callable[..., str]) -> Action:
        @admin.action(description=label, permissions=[permission])
        @wraps(act)
        def action(self: Any, request: HttpRequest, chosen: "QuerySet[Any]") -> HttpResponse | None:
            rows = list(chosen[: limit + 1])
            if len(rows) > limit:
                self.message_user(
                    request, f"{label} works for at most {limit} at once. Nothing was done.", messages.ERROR
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
                    "rows": [(row, list(details(row)) if details else []) for row in rows],
                    "action": act.__name__,
                    "checkbox": ACTION_CHECKBOX_NAME,
                    "form": asked,
                    "opts": self.opts,
                    "media": self.media + asked.media if asked else self.media,
                }
                return TemplateResponse(request, "admin/confirm.html", context)
            answers = asked.cleaned_data if asked is not None else {}
            _report(self, request, label, _act(self, act, rows, by=current_user(request), **answers))
            if len(rows) == 1 and self.model.objects.filter(pk=rows[0].pk).exists():
                return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", rows[0].pk)
            return None

        return action

    return decorate


def _act(model_admin: Any, act: Callable[..., str], rows: list[Any], **answers: Any) -> list[tuple[str, str]]:
    """Returns for each row its name, and why it was not done or an empty string."""
    stop_at = time.monotonic() + TIME_LIMIT
    results = []
    for row in rows:
        name = str(row)
        late = time.monotonic() > stop_at
        results.append(
            (name, "not done yet, it took too long; ask again" if late else act(model_admin, row, **answers))
        )
    return results


def _report(model_admin: Any, request: HttpRequest, label: str, results: list[tuple[str, str]]) -> None:
    left_out = [(name, why) for name, why in results if why]
    done = len(results) - len(left_out)
    if done:
        model_admin.message_user(request, f"{label}: done for {done}.", messages.SUCCESS)
    for name, why in left_out[:MAX_MESSAGES]:
        model_admin.message_user(request, f"{label}: {name}: {why}", messages.WARNING)
    if len(left_out) > MAX_MESSAGES:
        model_admin.message_user(request, f"… and {len(left_out) - MAX_MESSAGES} more.", messages.WARNING)
