"""A customer's connections, for the people of that customer."""

from collections import Counter

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit, mail_preferences
from accounts.access import MAY_CONNECT, current_user, customer_for
from accounts.models import Customer
from integrations import wording
from integrations.calls import health_check, panels
from integrations.connecting import disconnection
from integrations.models import Connection, ConnectionTest, State
from integrations.operations import retention
from integrations.views import chart, figures
from integrations.views.forms import NameForm

CHECKS_SHOWN = 10


@never_cache
@require_GET
def connections(request: HttpRequest, code: str) -> HttpResponse:
    """All connections of this customer, those that need a person first; `?state=` shows those with one badge."""
    customer = customer_for(request, code)
    every = list(figures.with_history(customer.connections.shown()))
    # By what people see: a connection's badge is more than its column.
    counts = Counter(connection.badge for connection in every)
    chosen = request.GET.get("state", "")
    found = [connection for connection in every if connection.badge == chosen] if chosen else every
    events = figures.events_of_the_last_days(found)
    rows = [(connection, events[connection.pk]) for connection in sorted(found, key=_people_first)]
    return render(
        request,
        "integrations/connections.html",
        {
            "rows": rows,
            "connections": every,
            "filters": [(state, counts[state]) for state in State if counts[state]],
            "chosen": chosen,
            "is_registered": bool(settings.SNAPINSPECT_CLIENT_ID),
        },
    )


@never_cache
@require_GET
def connection(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The overview of one connection: how it is doing, what it is, its events by day, its last tests."""
    customer = customer_for(request, code)
    found = _connection(customer, connection_code)
    numbers = figures.of([found])
    return render(
        request,
        "integrations/connection_overview.html",
        {
            "connection": found,
            "events_kept_until": retention.events_kept_until(found),
            "numbers": numbers,
            "chart": chart.of(numbers.days),
            "time_zone": timezone.get_current_timezone_name(),
            "panels": panels.all_panels(),
            "checks": list(found.connection_tests.select_related("by")[:CHECKS_SHOWN]),
        },
    )


@never_cache
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The settings of a connection: its name, who gets its mail, and the buttons that are pressed once in a year."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    found = _connection(customer, connection_code)
    form = NameForm(request.POST or None, initial={"name": found.own_name})
    if request.method == "POST" and form.is_valid():
        found.rename(form.cleaned_data["name"])
        audit.record("connection.renamed", customer=customer, actor=current_user(request), subject=found.code)
        messages.success(request, f"This connection is called {found.label} now.")
        return redirect("connection_settings", customer.code, found.code)
    context = {
        "connection": found,
        "form": form,
        "link_lifetime": wording.LINK_LIFETIME,
        "told": mail_preferences.trouble_recipients(customer),
    }
    return render(request, "integrations/connection_settings.html", context)


@never_cache
@require_GET
def card(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """One connection as it stands now: what the dashboard polls while it is connecting."""
    customer = customer_for(request, code)
    found = figures.with_history(customer.connections.shown()).filter(code=connection_code).first()
    asks_for_itself = request.htmx  # type: ignore[attr-defined]
    if found is None:
        # A second attempt for a company that was connected already has been joined with it: show the whole page anew.
        if asks_for_itself:
            messages.info(request, wording.CONNECTED_BEFORE)
        return HttpResponse(headers={"HX-Refresh": "true"})
    context = {"connection": found, "on_its_page": "here" in request.GET, "panels": panels.all_panels()}
    answer = render(request, "integrations/partials/connection_card.html", context)
    if asks_for_itself and not found.is_finishing:
        if found.state == State.CONNECTED:
            messages.success(request, wording.connected(found.company_id, has_events=found.last_event_at is not None))
        answer["HX-Refresh"] = "true"  # the rest of the page has become another, too
    return answer


@require_POST
def test(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """Calls SnapInspect at once and leads to a page with its answer."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    check = health_check.test(connection, by=current_user(request))
    if check is None:
        messages.info(
            request,
            "This connection has been tested several times within a minute, so SnapInspect was not asked again. Here is"
            " the latest answer; please wait a minute before the next test.",
        )
        check = connection.connection_tests.first()
    if check is None:
        return redirect("dashboard", customer.code)
    return redirect("check", customer.code, connection.code, check.pk)


@never_cache
@require_GET
def check(request: HttpRequest, code: str, connection_code: str, pk: int) -> HttpResponse:
    """The result of one test, to be read and reloaded."""
    customer = customer_for(request, code)
    connection = _connection(customer, connection_code)
    found = get_object_or_404(ConnectionTest.objects.select_related("by"), pk=pk, connection=connection)
    return render(request, "integrations/connection_test.html", {"connection": connection, "check": found})


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
            request, f"{connection.label} is disconnected. Its access was ended at SnapInspect and erased here."
        )
    else:
        messages.warning(
            request,
            f"{connection.label} is disconnected and its access was erased here. SnapInspect did not confirm that it"
            " ended there too: remove this app in your SnapInspect account to be sure.",
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
        messages.success(request, "The tokens were replaced; the old ones are dead.")
    return redirect("dashboard", customer.code)


def _connection(customer: Customer, code: str) -> Connection:
    return get_object_or_404(figures.with_history(customer.connections.shown()), code=code)


def _people_first(connection: Connection) -> tuple[bool, bool, str]:
    return not connection.needs_a_person, connection.state == State.DISCONNECTED, connection.label.casefold()
