"""The explorer: any GET of the API with a customer's access, for its owners, and for staff at an address of their own.

A question is a POST, so that no link can ask it; its answer is a page that can be reloaded for some minutes.
"""

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.access import OWNERS, current_user, customer_for
from accounts.models import Customer
from integrations.calls import explorer
from integrations.models import Connection
from integrations.views.forms import ExplorerForm


@require_http_methods(["GET", "POST"])
def ask(request: HttpRequest, code: str) -> HttpResponse:
    """The owners' explorer, over all connections of their customer that can be asked."""
    customer = customer_for(request, code, roles=OWNERS)
    form = ExplorerForm(request.POST or None, connections=customer.connections.usable())
    if form.is_valid():
        explorer.ask(form.cleaned_data["connection"], form.cleaned_data["path"], by=current_user(request))
        return redirect("explorer", customer.code)
    return _page(request, customer, form)


@require_http_methods(["GET", "POST"])
def for_staff(request: HttpRequest, connection_code: str) -> HttpResponse:
    """The same for staff, one connection at a time. The customer reads in its activity that they asked."""
    user = current_user(request)
    if not user.is_staff or not user.has_perm("integrations.change_connection"):
        raise PermissionDenied
    mine = Connection.objects.select_related("customer").filter(code=connection_code)
    connection = get_object_or_404(mine)
    form = ExplorerForm(request.POST or None, connections=mine.usable())
    if form.is_valid():
        audit.record("explorer.asked_by_staff", customer=connection.customer, actor=user, subject=connection.code)
        explorer.ask(connection, form.cleaned_data["path"], by=user)
        return redirect("staff_explorer", connection.code)
    return _page(request, connection.customer, form, connection=connection)


def _page(
    request: HttpRequest, customer: Customer, form: ExplorerForm, *, connection: Connection | None = None
) -> HttpResponse:
    history = explorer.history(customer)
    last = explorer.last_call(customer, by=current_user(request))
    context = {
        "form": form,
        "api_url": settings.SNAPINSPECT_API_URL,
        "history": history,
        "last": last,
        "answer": explorer.answer_to(last, by=current_user(request)) if last else None,
        "curl": explorer.as_curl(last.path) if last else "",
        # Only on the page for staff: members find their customer in the header.
        "of_connection": connection,
    }
    return render(request, "integrations/explorer.html", context)
