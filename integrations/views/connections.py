"""A customer's dashboard and connections, for the people of that customer."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import MAY_CONNECT, customer_for, person
from accounts.models import Customer, User
from integrations import health, panels, parting, wording
from integrations.models import Check, Connection


@never_cache
@require_GET
def dashboard(request: HttpRequest, code: str) -> HttpResponse:
    """What this customer has connected and how it is doing. Shows what we know; asks SnapInspect nothing."""
    customer = customer_for(request, code)
    user = person(request)
    if user.last_customer_id != customer.pk:
        User.objects.filter(pk=user.pk).update(last_customer=customer)
    return render(
        request,
        "integrations/dashboard.html",
        {
            "connections": list(customer.connections.shown()),
            "panels": panels.offered(),
            "is_registered": bool(settings.SNAPINSPECT_CLIENT_ID),
        },
    )


@never_cache
@require_GET
def card(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """One connection as it stands now: what the dashboard polls while it is connecting."""
    customer = customer_for(request, code)
    connection = customer.connections.shown().filter(code=connection_code).first()
    if connection is None:
        # A second attempt for a company that was connected already has been joined with it: show the whole page anew.
        return HttpResponse(headers={"HX-Refresh": "true"})
    context = {"connection": connection, "panels": panels.offered()}
    return render(request, "integrations/partials/connection.html", context)


@require_POST
def test(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """Calls SnapInspect at once and leads to a page with its answer."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    check = health.test(connection, by=person(request))
    return redirect("check", customer.code, connection.code, check.pk)


@never_cache
@require_GET
def check(request: HttpRequest, code: str, connection_code: str, pk: int) -> HttpResponse:
    """The result of one test, to be read and reloaded."""
    customer = customer_for(request, code)
    connection = _connection(customer, connection_code)
    found = get_object_or_404(Check.objects.select_related("by"), pk=pk, connection=connection)
    return render(request, "integrations/check.html", {"connection": connection, "check": found})


@require_http_methods(["GET", "POST"])
def disconnect(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """Asks once, then erases what is stored to access this account."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = _connection(customer, connection_code)
    if request.method == "GET":
        return render(request, "integrations/disconnect.html", {"connection": connection})
    if parting.disconnect(connection, by=person(request)):
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
    error_kind = health.replace_tokens(connection, by=person(request))
    if error_kind:
        messages.warning(request, f"The tokens could not be replaced. {wording.trouble(error_kind)}")
    else:
        messages.success(request, "The tokens were replaced; the old ones are dead.")
    return redirect("dashboard", customer.code)


def _connection(customer: Customer, code: str) -> Connection:
    return get_object_or_404(customer.connections.shown(), code=code)
