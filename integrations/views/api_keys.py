"""Keys of the API: a customer's, for its owners, and those of the whole deployment, for staff."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import OWNERS, current_staff, current_user, customer_for
from accounts.models import Customer, User
from integrations.api import keys
from integrations.models import ApiKey
from integrations.views.forms import ApiKeyForm

MAY_MANAGE = "integrations.add_apikey"
MOST_SHOWN = 100


@require_http_methods(["GET", "POST"])
def of_customer(request: HttpRequest, code: str) -> HttpResponse:
    """The customer's keys, and the form that makes one."""
    customer = customer_for(request, code, roles=OWNERS)
    context: dict[str, Any] = {"base": "base.html"}
    return _page(request, customer.api_keys.all(), context, customer=customer, by=current_user(request))


@require_POST
def revoke_of_customer(request: HttpRequest, code: str, prefix: str) -> HttpResponse:
    customer = customer_for(request, code, roles=OWNERS)
    _revoke(request, get_object_or_404(customer.api_keys, prefix=prefix))
    return redirect("api_keys", customer.code)


@require_http_methods(["GET", "POST"])
def of_deployment(request: HttpRequest) -> HttpResponse:
    """The keys that reach every customer, and the form that makes one."""
    staff = current_staff(request, MAY_MANAGE)
    context = {"base": "staff/base.html", "at_api_keys": "page"}
    return _page(request, ApiKey.objects.filter(customer=None), context, customer=None, by=staff)


@require_POST
def revoke_of_deployment(request: HttpRequest, prefix: str) -> HttpResponse:
    current_staff(request, MAY_MANAGE)
    _revoke(request, get_object_or_404(ApiKey, customer=None, prefix=prefix))
    return redirect("staff_api_keys")


def _page(
    request: HttpRequest, rows: "QuerySet[ApiKey]", context: dict[str, Any], *, customer: Customer | None, by: User
) -> HttpResponse:
    form = ApiKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _, context["made"] = keys.issue(
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_in=form.expires_in,
            customer=customer,
            by=by,
        )
        form = ApiKeyForm()
    shown = rows.select_related("created_by")[:MOST_SHOWN]
    return render(request, "integrations/api_keys.html", {**context, "keys": shown, "form": form})


def _revoke(request: HttpRequest, key: ApiKey) -> None:
    if keys.revoke(key, by=current_user(request)):
        messages.success(request, f"{key} is revoked: it opens nothing any more.")
    else:
        messages.info(request, f"{key} was revoked already.")
