"""A customer's connections, for the people of that customer."""

from collections import Counter

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit, mail_preferences
from accounts.access import MAY_CONNECT, current_user, customer_for
from accounts.models import Customer
from integrations import wording
from integrations.calls import health_check, panels
from integrations.connecting import disconnection
from integrations.models import Connection, ConnectionTest, State
from integrations.operations import retention
from integrations.views import customer_connections, figures, states
from integrations.views.chart import Chart
from integrations.views.forms import NameForm

TESTS_SHOWN = 10


@require_GET
def connection_list(request: HttpRequest, code: str) -> HttpResponse:
    """All connections of this customer, those that need a person first; `?state=` shows those with one badge."""
    customer = customer_for(request, code)
    connections = customer_connections.of(customer)
    # By what people see: a connection's badge is more than its column.
    counts = Counter(connection.badge for connection in connections)
    chosen = request.GET.get("state", "")
    found = [connection for connection in connections if connection.badge == chosen] if chosen else connections
    events = figures.events_by_connection(found)
    context = {
        "rows": [(connection, events[connection.pk]) for connection in sorted(found, key=_order)],
        "days": figures.DAYS,
        "connections": connections,
        "filters": [(state, counts[state]) for state in State if counts[state]],
        "chosen": chosen,
        **states.shown(request, connections),
    }
    return render(request, "integrations/connections.html", context)


@require_GET
def overview(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """How one connection is doing, what it is, its events by day, its last tests."""
    customer = customer_for(request, code)
    connection = _connection(customer, connection_code)
    found = figures.of([connection])
    context = {
        "connection": connection,
        "events_kept_until": retention.events_kept_until(connection),
        "figures": found,
        "chart": Chart(found.days),
        "panels": panels.all_panels(),
        "tests": list(connection.connection_tests.select_related("by")[:TESTS_SHOWN]),
        **states.shown(request, [connection], of=connection),
    }
    return render(request, "integrations/connection_overview.html", context)


@require_http_methods(["GET", "POST"])
def settings(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The name of a connection, who gets its mail, and the buttons that are pressed once in a year."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    form = NameForm(request.POST or None, initial={"name": connection.own_name})
    if request.method == "POST" and form.is_valid():
        connection.rename(form.cleaned_data["name"])
        audit.record("connection.renamed", customer=customer, actor=current_user(request), subject=connection.code)
        messages.success(request, f"This connection is now called {connection.label}.")
        return redirect("connection_settings", customer.code, connection.code)
    context = {
        "connection": connection,
        "form": form,
        "link_lifetime": wording.LINK_LIFETIME,
        "told": mail_preferences.trouble_recipients(customer),
        **states.shown(request, [connection], of=connection),
    }
    return render(request, "integrations/connection_settings.html", context)


@require_POST
def test(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """Calls SnapInspect at once and leads to a page with its answer."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    found = health_check.test(connection, by=current_user(request), in_a_hurry=True)
    if found is None:
        messages.info(
            request,
            "You tested this connection several times within a minute. This is the latest result. Wait a minute before"
            " the next test.",
        )
        found = connection.connection_tests.first()
    if found is None:
        return redirect("dashboard", customer.code)
    return redirect("connection_test_result", customer.code, connection.code, found.pk)


@require_GET
def test_result(request: HttpRequest, code: str, connection_code: str, pk: int) -> HttpResponse:
    """The result of one test, to be read and reloaded."""
    customer = customer_for(request, code)
    connection = _connection(customer, connection_code)
    found = get_object_or_404(ConnectionTest.objects.select_related("by"), pk=pk, connection=connection)
    context = {"connection": connection, "test": found, **states.shown(request, [connection], of=connection)}
    return render(request, "integrations/connection_test.html", context)


@require_http_methods(["GET", "POST"])
def disconnect(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """Asks once, then erases what is stored to access this account."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    if request.method == "GET":
        context = {"connection": connection, "kept": retention.AFTER_DISCONNECT}
        return render(request, "integrations/disconnect.html", context)
    if disconnection.disconnect(connection, by=current_user(request)):
        messages.success(
            request, f"{connection.label} is disconnected. Our access was ended at SnapInspect and deleted here."
        )
    else:
        messages.warning(
            request,
            f"{connection.label} is disconnected and our access was deleted here. SnapInspect did not confirm that it"
            " ended there too. Remove this app in your SnapInspect account to be sure.",
        )
    return redirect("dashboard", customer.code)


@require_POST
def replace_tokens(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """Exchanges the tokens now, because somebody thinks they are known to others."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    error_kind = health_check.replace_tokens(connection, by=current_user(request))
    if error_kind:
        messages.warning(request, f"The tokens could not be replaced. {wording.trouble(error_kind)}")
    else:
        messages.success(request, "Tokens replaced. The old tokens no longer work.")
    return redirect("dashboard", customer.code)


def _connection(customer: Customer, code: str) -> Connection:
    return get_object_or_404(figures.with_last_event(customer.connections.shown()), code=code)


def _order(connection: Connection) -> tuple[bool, bool, str]:
    """Those that need a person first, the disconnected last, each by their names."""
    return not connection.needs_a_person, connection.state == State.DISCONNECTED, connection.label.casefold()
