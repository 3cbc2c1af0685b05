"""Replay of many events: first how many there are, then how far it has come, then what came of it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import MAY_CONNECT, current_user, customer_for
from integrations.background import jobs
from integrations.events import replays
from integrations.models import Replay
from integrations.views.forms import SelectionForm


@never_cache
@require_http_methods(["GET", "POST"])
def start(request: HttpRequest, code: str) -> HttpResponse:
    """Says how many events the filter in the address means, and has them replayed when that is confirmed."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    form = SelectionForm(request.GET, connections=list(customer.connections.all()))
    running = customer.replays.running().first()
    if running is not None:
        messages.info(request, "One replay at a time: this one is still running.")
        return redirect("replay", customer.code, running.code)
    if request.method == "GET" or not form.is_valid():
        context = {"form": form, "most": replays.MOST_COUNTED}
        if form.is_valid():
            context |= {"count": replays.count(customer, form.selection), "query": form.selection.query}
        return render(request, "integrations/replay_confirm.html", context)
    begun = replays.start(customer, form.selection, by=current_user(request))
    if begun is None:  # somebody else was quicker by a moment
        return redirect("replay_many", customer.code)
    jobs.wake_worker()
    return redirect("replay", customer.code, begun.code)


@never_cache
@require_GET
def replay(request: HttpRequest, code: str, replay_code: str) -> HttpResponse:
    """How far it has come. The page asks for itself anew while it runs; without JavaScript, reloading does the same."""
    customer = customer_for(request, code)
    found = get_object_or_404(customer.replays.select_related("by", "cancelled_by"), code=replay_code)
    is_part = request.htmx  # type: ignore[attr-defined]
    template = "integrations/partials/replay_progress.html" if is_part else "integrations/replay.html"
    return render(request, template, {"replay": found, "most": replays.MOST_COUNTED})


@require_POST
def cancel(request: HttpRequest, code: str, replay_code: str) -> HttpResponse:
    """Ends it where it stands."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    found: Replay = get_object_or_404(customer.replays, code=replay_code)
    if not replays.cancel(found, by=current_user(request)):
        messages.info(request, "It had come to its end already.")
    return redirect("replay", customer.code, found.code)
