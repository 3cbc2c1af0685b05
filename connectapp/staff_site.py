"""The admin as one site: signed in to like everything else, and grouped by what staff come for."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import BadRequest
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

logger = logging.getLogger(__name__)
# Django's own logger of crashes: the operator is mailed what it gets.
crashes = logging.getLogger("django.request")

# Heading -> the models below it, with the words people use for them. What is not named here goes to the end.
GROUPS: dict[str, dict[str, str]] = {
    "Customers and people": {
        "accounts.Customer": "Customers",
        "accounts.User": "People",
        "accounts.Membership": "Memberships",
        "accounts.Invitation": "Invitations",
        "integrations.LinkedUser": "Links to SnapInspect users",
        "account.EmailAddress": "Email addresses",
    },
    "Connections": {
        "integrations.Connection": "Connections",
        "integrations.ConnectAttempt": "Attempts to connect",
        "integrations.ConnectionTest": "Connection tests",
        "integrations.Panel": "Panels on dashboards",
    },
    "What SnapInspect sent": {
        "integrations.Event": "Events",
        "integrations.Delivery": "Deliveries",
    },
    "What endpoints are sent": {
        "integrations.WebhookEndpoint": "Webhook endpoints",
        "integrations.OutgoingDelivery": "Deliveries to endpoints",
    },
    "Who did what": {
        "accounts.AuditEntry": "Audit trail",
    },
    "Behind the scenes": {
        "auth.Group": "Groups of permissions",
    },
}
REST = "More"


class NamedResults(AutocompleteJsonView):
    """What a picker finds, each with the name that tells it from others of the same name."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        return {**super().serialize_result(obj, to_field_name), "text": getattr(obj, "name_for_staff", str(obj))}


class StaffSite(AdminSite):
    site_header = f"{settings.APP_NAME} administration"
    site_title = settings.APP_NAME
    index_title = "Administration"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The same sign-in, limits and second factor as everyone."""
        return secure_admin_login(super().login)(request, extra_context)  # type: ignore[no-untyped-call]

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        """The view; a query that Python or the database cannot read leads to the same address without it.

        Django does so for most junk in a list's address, but not for a year 9999 or a NUL. A form that cannot be read
        is a bad request: Django asks the database for whatever was sent as the ID of a row. The operator is told of it
        as of a crash all the same, since it may be a mistake of ours.
        """
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                response = inner(request, *args, **kwargs)
                # Some filters are read while the page is drawn.
                return response.render() if hasattr(response, "render") else response
            except (ValueError, OverflowError, DataError) as problem:
                if request.method == "POST":
                    crashes.exception("A form of %s could not be read.", request.path, extra={"request": request})
                    raise BadRequest("A value of this form cannot be read.") from None
                if not request.GET:
                    raise
                logger.warning("A query of %s could not be read (%s).", request.path, type(problem).__name__)
                return redirect(request.path)

        return guarded

    def autocomplete_view(self, request: HttpRequest) -> HttpResponseBase:  # type: ignore[override]
        return NamedResults.as_view(admin_site=self)(request)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]
        return redirect("account_change_password")

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps
        models = {f"{app['app_label']}.{model['object_name']}": model for app in apps for model in app["models"]}
        listed = []
        for heading, names in GROUPS.items():
            found = [{**models.pop(label), "name": words} for label, words in names.items() if label in models]
            listed.append(_group(heading, found))
        return [group for group in [*listed, _group(REST, list(models.values()))] if group["models"]]


def _group(heading: str, models: list[Any]) -> dict[str, Any]:
    return {
        "name": heading,
        "app_label": heading.lower().replace(" ", "-"),
        "app_url": reverse("admin:index"),
        "has_module_perms": True,
        "models": models,
    }
