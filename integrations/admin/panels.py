"""Panels in the Django admin: where the operator says what customers see live from the API, and tries it out first."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from accounts import audit
from accounts.access import current_user
from integrations import wording
from integrations.admin.pickers import connection_picker
from integrations.calls import panels, tables
from integrations.calls.api_client import NoAnswer
from integrations.models import Connection, Panel, PanelAnswer
from integrations.snapinspect import safe_urls


class PanelForm(forms.ModelForm[Panel]):
    class Meta:
        model = Panel
        fields = ["title", "path", "rows_at", "columns", "refresh_seconds", "position", "is_active"]
        help_texts = {
            "path": "A path below the API address, with its query: inspections?sort=newest",
            "rows_at": "The dotted path to the list of rows in the answer: data.items. Empty: the answer is the list.",
            "columns": (
                "One per line: a label, a colon, and the dotted path of the value in a row. For example<br>"
                "Inspection: sTitle<br>Address: asset.sAddress<br>First photo: photos.0.sUrl"
            ),
            "refresh_seconds": f"Longest age in seconds: {Panel.SHORTEST_REFRESH} to {Panel.LONGEST_REFRESH}.",
            "position": "Smaller numbers come first.",
            "is_active": "Customers see the panel. Preview it before you turn this on.",
        }
        widgets = {"columns": forms.Textarea(attrs={"rows": 6, "spellcheck": "false"})}

    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        if not safe_urls.is_path(path):
            raise forms.ValidationError(wording.NOT_A_PATH)
        return path

    def clean_rows_at(self) -> str:
        return self._readable("rows_at", tables.parse_path)

    def clean_columns(self) -> str:
        return self._readable("columns", tables.parse_columns)

    def _readable(self, field: str, read: Callable[[str], object]) -> str:
        text: str = self.cleaned_data[field]
        try:
            read(text)
        except tables.BadDefinition as bad:
            raise forms.ValidationError(str(bad)) from None
        return text.strip()


class PreviewForm(forms.Form):
    connection = connection_picker(PanelAnswer, "connection", Connection.objects.usable())


@admin.register(Panel)
class PanelAdmin(admin.ModelAdmin[Panel]):
    form = PanelForm
    list_display = ["title", "path", "rows_at", "refresh_seconds", "position", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["title", "path"]

    def get_urls(self) -> list[URLPattern]:
        preview = path("preview/", self.admin_site.admin_view(self.preview), name="integrations_panel_preview")
        return [preview, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if self._may_preview(request):
            form = PreviewForm(use_required_attribute=False)
            context |= {"preview_form": form, "media": context["media"] + form.media}
        return super().render_change_form(request, context, *args, **kwargs)

    def preview(self, request: HttpRequest) -> HttpResponse:
        """What the form defines, saved or not, with a connection of somebody's choice, asked now; nothing is kept."""
        if not self._may_preview(request):
            raise PermissionDenied
        if request.method != "POST":
            return redirect("admin:integrations_panel_changelist")
        form, chosen = PanelForm(request.POST), PreviewForm(request.POST)
        mistakes = [(one.label, one.errors) for one in [*form, *chosen] if one.errors]
        context = {**self.admin_site.each_context(request), "title": "Preview", "opts": self.opts, "mistakes": mistakes}
        if not mistakes:
            panel, connection = form.save(commit=False), chosen.cleaned_data["connection"]
            context["panel"] = panel
            audit.record(
                "panel.tried_by_staff",
                customer=connection.customer,
                actor=current_user(request),
                subject=connection.code,
            )
            try:
                context["table"] = panels.fetch(panel, connection)
            except NoAnswer as nothing:
                context["nothing"] = nothing
        return TemplateResponse(request, "admin/integrations/panel/preview.html", context)

    def _may_preview(self, request: HttpRequest) -> bool:
        may_write = self.has_add_permission(request) or self.has_change_permission(request)
        return may_write and current_user(request).has_perm("integrations.change_connection")

    def save_model(self, request: HttpRequest, obj: Panel, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        # What it showed before it was changed; who is asking at this moment finds no row to write to.
        PanelAnswer.objects.filter(panel=obj).delete()
        audit.record("panel.saved", actor=current_user(request), panel=obj.title, active=obj.is_active)

    def delete_model(self, request: HttpRequest, obj: Panel) -> None:
        self._note_deletion(request, [obj])
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Panel]") -> None:
        self._note_deletion(request, list(queryset))
        super().delete_queryset(request, queryset)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What staff must agree to: not each customer's kept answer, which goes along and is no loss."""
        deleted, counts, _, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, set(), protected

    def _note_deletion(self, request: HttpRequest, chosen: Sequence[Panel]) -> None:
        for panel in chosen:
            audit.record("panel.deleted", actor=current_user(request), panel=panel.title)
