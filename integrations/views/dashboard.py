"""A customer's dashboard, and its figures for programs."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.access import current_user, customer_for
from accounts.models import Customer, User
from integrations import wording
from integrations.calls import panels
from integrations.models import Connection
from integrations.views import customer_connections, figures, recent_events, states
from integrations.views.chart import Chart
from integrations.views.figures import Figures

# So many connections have boxes of their own; the others are rows.
MOST_CARDS = 2


@require_GET
def dashboard(request: HttpRequest, code: str) -> HttpResponse:
    """What this customer has connected and how it is doing. Shows what we know; asks SnapInspect nothing."""
    customer = customer_for(request, code)
    user = current_user(request)
    if user.last_customer_id != customer.pk:
        User.objects.filter(pk=user.pk).update(last_customer=customer)
    connections = _connections(customer)
    found = figures.of(connections)
    steps = _first_steps(user, connections, found)
    needing_a_person = [connection for connection in connections if connection.needs_a_person]
    context = {
        "connections": connections,
        "several": len(connections) > 1,
        "cards": connections[:MOST_CARDS],
        "rows": connections[MOST_CARDS:],
        "status": connections
        and wording.connections_status([one.badge for one in connections], need_a_person=len(needing_a_person)),
        # As integrations.context_processors gives it to every page, without its query.
        "needing_a_person": needing_a_person,
        "panels": panels.all_panels(),
        "events": recent_events.newest(connections),
        "figures": found,
        "chart": Chart(found.days),
        "endpoint_in_trouble": any(connection.endpoint_in_trouble for connection in connections),
        "steps": [] if all(done for _, done in steps) else steps,
        **states.shown(request, connections),
    }
    return render(request, "integrations/dashboard.html", context)


@require_GET
def figures_json(request: HttpRequest, code: str) -> JsonResponse:
    """The dashboard's figures as JSON."""
    customer = customer_for(request, code)
    connections = _connections(customer)
    found = figures.of(connections)
    return JsonResponse(
        {
            "time_zone": timezone.get_current_timezone_name(),
            "events_by_state": dict(found.by_state),
            "waiting": found.waiting,
            "oldest_waiting": _oldest(found),
            "days": [
                {
                    "date": day.date.isoformat(),
                    "events": day.total,
                    "processed": day.processed,
                    "waiting": day.waiting,
                    "failed": day.failed,
                }
                for day in found.days
            ],
            "connections": [
                {
                    "code": connection.code,
                    "name": connection.label,
                    "company_id": connection.company_id,
                    "state": connection.badge,
                    "needs_a_person": connection.needs_a_person,
                    "events": found.by_connection[connection.pk],
                }
                for connection in connections
            ],
        }
    )


def _connections(customer: Customer) -> list[Connection]:
    """Those that need a person first."""
    return sorted(
        customer_connections.of(customer), key=lambda connection: (not connection.needs_a_person, connection.pk)
    )


def _oldest(found: Figures) -> dict[str, Any] | None:
    event = found.oldest_waiting
    return {"code": event.code, "received_at": event.received_at.isoformat()} if event else None


def _first_steps(user: User, connections: list[Connection], found: Figures) -> list[tuple[str, bool]]:
    """The steps to the first event, each with whether it is done."""
    connected = any(connection.connected_at for connection in connections)
    seen = bool(found.total) or any(connection.last_event_at for connection in connections)
    steps = [("connect", connected), ("event", seen)]
    if settings.EMAIL_VERIFICATION != "none" and not (connected and seen):
        steps.insert(0, ("confirm", user.has_confirmed_email))
    return steps
