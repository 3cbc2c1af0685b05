"""Webhook endpoints: a customer's own, for its owners, and all of them, for staff.

Both have the same pages. Those of staff stand below `staff/webhooks/` and know no customer: `code` is None.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import OWNERS, current_staff, current_user, customer_for
from accounts.models import Customer
from integrations.events.selection import fingerprint
from integrations.models import DeliveryTry, OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import delivery_actions, endpoints, schedule
from integrations.tokens.encryption import CannotUnseal
from integrations.views.htmx import page_or_part
from integrations.views.webhook_forms import DeliveryFilter, EndpointForm

MAY_MANAGE = "integrations.change_webhookendpoint"
MOST_SHOWN = 50
MOST_ENDPOINTS_SHOWN = 200


@dataclass(frozen=True)
class Reach:
    """What a visitor may manage: the endpoints of a customer, or all of them (customer: None)."""

    endpoints: "QuerySet[WebhookEndpoint]"
    customer: Customer | None

    def endpoint(self, code: str) -> WebhookEndpoint:
        return get_object_or_404(self.endpoints.select_related("customer"), code=code)

    def to(self, name: str, *codes: str) -> HttpResponseRedirect:
        """A redirect to the page with this name, on the side of the customer or of staff."""
        return redirect(name, self.customer.code, *codes) if self.customer else redirect(f"staff_{name}", *codes)

    def render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        return render(request, template, self.framed(context))

    def framed(self, context: dict[str, Any]) -> dict[str, Any]:
        base = "base.html" if self.customer else "staff/base.html"
        return {"base": base, "at_webhooks": "page", "most_tries": schedule.MOST_TRIES, **context}


def reach_of(request: HttpRequest, code: str | None) -> Reach:
    """What the visitor may manage, or Http404 or PermissionDenied."""
    if code is None:
        current_staff(request, MAY_MANAGE)
        return Reach(WebhookEndpoint.objects.all(), None)
    customer = customer_for(request, code, roles=OWNERS)
    return Reach(customer.webhook_endpoints.all(), customer)


@require_http_methods(["GET", "POST"])
def endpoint_list(request: HttpRequest, code: str | None) -> HttpResponse:
    """The endpoints, and the form that makes one. Its signing secret is on the answer to that form only."""
    reach = reach_of(request, code)
    form = EndpointForm(request.POST or None)
    context: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        try:
            context["made"], context["secret"] = endpoints.create(
                **form.values, customer=reach.customer, by=current_user(request)
            )
        except endpoints.Invalid as invalid:
            form.add_error(invalid.field, str(invalid))
        else:
            form = EndpointForm()
    shown = reach.endpoints.select_related("customer").order_by("-pk")[:MOST_ENDPOINTS_SHOWN]
    return reach.render(request, "integrations/webhooks.html", {**context, "endpoints": shown, "form": form})


@require_GET
def endpoint(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    """One endpoint with its newest deliveries. They update themselves."""
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    form = DeliveryFilter(request.GET)
    rows = found.deliveries.select_related("message").order_by("-pk")
    if form.is_valid():
        if state := form.cleaned_data["state"]:
            rows = rows.filter(state=state)
        if before := form.cleaned_data["before"]:
            rows = rows.filter(pk__lt=before)
    newest_try = DeliveryTry.objects.filter(delivery=OuterRef("pk")).order_by("-pk")
    shown = list(
        rows.annotate(
            last_status=Subquery(newest_try.values("status")[:1]),
            last_error=Subquery(newest_try.values("error_kind")[:1]),
            last_duration=Subquery(newest_try.values("duration")[:1]),
        )[: MOST_SHOWN + 1]
    )
    context = {
        "endpoint": found,
        "deliveries": shown[:MOST_SHOWN],
        "older": shown[MOST_SHOWN - 1].pk if len(shown) > MOST_SHOWN else None,
        "form": form,
        "query": request.GET.urlencode(),
        "running": found.resends.running().first(),
        "version": fingerprint([
            found.state, found.failing_since, found.delivered_at,
            [(one.code, one.state, one.tries, one.next_try_at) for one in shown],
        ]),
    }  # fmt: skip
    return page_or_part(
        request,
        "integrations/webhook_endpoint.html",
        "integrations/partials/webhook_deliveries.html",
        reach.framed(context),
    )


@require_http_methods(["GET", "POST"])
def settings(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    """Changes the URL, the types, the description and the custom headers."""
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    form = EndpointForm(request.POST or None, endpoint=found)
    if request.method == "POST" and form.is_valid():
        try:
            endpoints.change(found, form.values, by=current_user(request))
        except endpoints.Invalid as invalid:
            form.add_error(invalid.field, str(invalid))
        except CannotUnseal:
            form.add_error(None, "Replace the signing secret first: no key opens the stored one any more.")
        else:
            messages.success(request, "Saved.")
            return reach.to("webhook_endpoint", found.code)
    return reach.render(request, "integrations/webhook_settings.html", {"endpoint": found, "form": form})


@require_POST
def replace_secret(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    """A new signing secret, shown on this answer only."""
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    secret = endpoints.replace_secret(found, by=current_user(request))
    return reach.render(request, "integrations/webhook_secret.html", {"endpoint": found, "secret": secret})


@require_POST
def pause(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    if endpoints.pause(found, by=current_user(request)):
        messages.success(request, "Paused. Messages wait until you turn it on again.")
    return reach.to("webhook_endpoint", found.code)


@require_POST
def switch_on(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    if endpoints.switch_on(found, by=current_user(request)):
        messages.success(request, "Turned on.")
    elif not found.key_id:
        messages.error(request, "Replace the signing secret first: no key opens the stored one any more.")
    return reach.to("webhook_endpoint", found.code)


@require_POST
def send_test(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    """Queues a test message, and leads to its delivery."""
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    sent = delivery_actions.send_test(found, by=current_user(request))
    return reach.to("webhook_delivery", found.code, sent.code)


@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    """Asks first, then deletes."""
    reach = reach_of(request, code)
    found = reach.endpoint(endpoint_code)
    if request.method == "GET":
        return reach.render(request, "integrations/webhook_delete.html", {"endpoint": found})
    endpoints.delete(found, by=current_user(request))
    messages.success(request, "The endpoint is deleted.")
    return reach.to("webhooks")


@require_GET
def delivery(request: HttpRequest, code: str | None, endpoint_code: str, delivery_code: str) -> HttpResponse:
    """One delivery: what is sent, and each try with its answer. Updates itself while it waits."""
    reach = reach_of(request, code)
    found = _delivery(reach, endpoint_code, delivery_code)
    tries = list(found.timeline.all())
    context = {
        "endpoint": found.endpoint,
        "delivery": found,
        "tries": tries,
        "version": fingerprint([found.state, found.tries, found.next_try_at, len(tries)]),
    }
    return page_or_part(
        request,
        "integrations/webhook_delivery.html",
        "integrations/partials/webhook_delivery.html",
        reach.framed(context),
    )


@require_POST
def resend(request: HttpRequest, code: str | None, endpoint_code: str, delivery_code: str) -> HttpResponse:
    reach = reach_of(request, code)
    found = _delivery(reach, endpoint_code, delivery_code)
    if not delivery_actions.resend(found, by=current_user(request)):
        messages.info(request, "This message is waiting to be sent already.")
    return reach.to("webhook_delivery", endpoint_code, found.code)


def _delivery(reach: Reach, endpoint_code: str, code: str) -> OutgoingDelivery:
    rows = OutgoingDelivery.objects.filter(endpoint__in=reach.endpoints, endpoint__code=endpoint_code)
    return get_object_or_404(rows.select_related("message", "endpoint__customer"), code=code)
