"""Replay of many events: how many there are, asked first, then the progress, then the result."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import MAY_CONNECT, current_user, customer_for
from integrations.events import replays
from integrations.views.forms import EventFilter
from integrations.views.htmx import page_or_part


@require_http_methods(["GET", "POST"])
def start(request: HttpRequest, code: str) -> HttpResponse:
    """Says how many events match the filter in the address, and starts their replay when that is confirmed."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    form = EventFilter(request.GET, customer)
    running = customer.replays.running().first()
    if running is not None:
        messages.info(request, "A replay is already running.")
        return redirect("replay", customer.code, running.code)
    if request.method == "GET" or not form.is_valid():
        context = {"form": form, "most": replays.MOST_COUNTED}
        if form.is_valid():
            context |= replays.counts(customer, form.selection) | {"query": form.selection.query}
        return render(request, "integrations/replay_confirm.html", context)
    started = replays.start(customer, form.selection, by=current_user(request))
    if started is None:  # another one was started a moment ago
        return redirect("replay_many", customer.code)
    return redirect("replay", customer.code, started.code)


@require_GET
def replay(request: HttpRequest, code: str, replay_code: str) -> HttpResponse:
    """Progress, then result. The page asks for itself anew while the replay runs."""
    customer = customer_for(request, code)
    found = get_object_or_404(customer.replays.select_related("by", "cancelled_by"), code=replay_code)
    context = {"replay": found, "most": replays.MOST_COUNTED}
    return page_or_part(request, "integrations/replay.html", "integrations/partials/replay_progress.html", context)


@require_POST
def cancel(request: HttpRequest, code: str, replay_code: str) -> HttpResponse:
    """Ends it where it stands."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    found = get_object_or_404(customer.replays, code=replay_code)
    if not replays.cancel(found, by=current_user(request)):
        messages.info(request, "This replay has already finished.")
    return redirect("replay", customer.code, found.code)
