"""Resend of an endpoint's deliveries since a moment: how many there are, then the progress, then the result."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import current_user
from integrations.outgoing import resends
from integrations.views.htmx import page_or_part
from integrations.views.webhook_endpoints import reach_of
from integrations.views.webhook_forms import ResendForm


@require_http_methods(["GET", "POST"])
def start(request: HttpRequest, code: str | None, endpoint_code: str) -> HttpResponse:
    """Asks since when, says how many these are, and starts when that is confirmed. The moment is in the address."""
    reach = reach_of(request, code)
    endpoint = reach.endpoint(endpoint_code)
    running = endpoint.resends.running().first()
    if running is not None:
        messages.info(request, "Messages are being sent again already.")
        return reach.to("webhook_resend", endpoint.code, running.code)
    form = ResendForm(request.GET or None)
    context = {"endpoint": endpoint, "form": form, "most": resends.MOST_COUNTED}
    if not form.is_valid():
        return reach.render(request, "integrations/webhook_resend_confirm.html", context)
    chosen = {"since": form.cleaned_data["since"], "with_delivered": form.cleaned_data["with_delivered"]}
    if request.method == "GET" or endpoint.is_off:
        context["count"] = resends.count(endpoint, **chosen)
        return reach.render(request, "integrations/webhook_resend_confirm.html", context)
    started = resends.start(endpoint, **chosen, by=current_user(request))
    if started is None:  # another one was started, or the endpoint switched off, a moment ago
        return reach.to("webhook_endpoint", endpoint.code)
    return reach.to("webhook_resend", endpoint.code, started.code)


@require_GET
def resend(request: HttpRequest, code: str | None, endpoint_code: str, resend_code: str) -> HttpResponse:
    """Progress, then result. The page asks for itself anew while it runs."""
    reach = reach_of(request, code)
    endpoint = reach.endpoint(endpoint_code)
    found = get_object_or_404(endpoint.resends.select_related("by", "cancelled_by"), code=resend_code)
    context = {"endpoint": endpoint, "resend": found, "most": resends.MOST_COUNTED}
    return page_or_part(
        request,
        "integrations/webhook_resend.html",
        "integrations/partials/webhook_resend_progress.html",
        reach.framed(context),
    )


@require_POST
def cancel(request: HttpRequest, code: str | None, endpoint_code: str, resend_code: str) -> HttpResponse:
    """Ends it where it stands."""
    reach = reach_of(request, code)
    endpoint = reach.endpoint(endpoint_code)
    found = get_object_or_404(endpoint.resends, code=resend_code)
    if not resends.cancel(found, by=current_user(request)):
        messages.info(request, "This has already finished.")
    return reach.to("webhook_resend", endpoint.code, found.code)
