"""Base classes of our ModelAdmins, for read-only rows and large tables, and links between pages of the admin."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import current_user


class CappedPaginator(Paginator[Any]):
    """Counts no further than LIMIT: on a table of millions the count would be slower than the page."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted: int = rows.order_by()[: self.LIMIT].count()
        return counted


class RowAdmin(admin.ModelAdmin[Any]):
    """Base of the admin pages of large tables.

    Counts up to a limit only. Actions are on the page of a row, too. One of them deletes, after it has told what.
    """

    change_form_template = "admin/row.html"
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether the user may use actions: they need the same permission as a form for changes."""
        return current_user(request).has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def has_superuser_permission(self, request: HttpRequest) -> bool:
        return current_user(request).is_superuser

    def related(self, row: Any) -> Iterable[tuple[str, str]]:
        """Labels and URLs of lists that belong to this row."""
        return ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        if row is not None:
            context |= {"related": list(self.related(row)), "acts": self.get_action_choices(request, [])}
        return super().render_change_form(request, context, *args, **kwargs)


class ReadOnlyAdmin(RowAdmin):
    """Shows rows that only actions change; each action names the actor in the audit trail."""

    # Lookups across tables that links to this list use.
    allowed_lookups: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in self.allowed_lookups or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]


class ReadOnlyInline(admin.StackedInline[Any, Any]):
    """Rows below another one: to be looked at."""

    can_delete = False
    extra = 0

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class WordsFilter(admin.SimpleListFilter):
    """Filters by values that we have words for, so that no table is searched for others."""

    parameter_name: str
    words: dict[str, str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(self.words.items(), key=lambda item: item[1])

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class LargeTableAdmin(ReadOnlyAdmin):
    """For tables of millions of rows: newest first only, because any other order would read all of them."""

    ordering = ("-pk",)
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER


def changelist_url(model: type[Model], **lookups: object) -> str:
    """The URL of a model's list in the admin, filtered by these lookups."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{urlencode(lookups)}" if lookups else url


def change_url(row: Model) -> str:
    """The URL of a row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def link(row: Model | None, words: str = "") -> SafeString | str:
    """A link to the row's page; a dash for None."""
    return format_html('<a href="{}">{}</a>', change_url(row), words or row) if row is not None else "–"


def link_column(name: str) -> Callable[[Any], SafeString | str]:
    """A column that links to the row that this foreign key names."""

    @admin.display(description=name.replace("_", " "))
    def column(row: Any) -> SafeString | str:
        return link(getattr(row, name))

    column.__name__ = name
    return column
