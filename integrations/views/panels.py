"""One panel of one connection: loaded into the dashboard after it, or, without JavaScript, a page of its own."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import customer_for
from integrations import panels


@never_cache
@require_GET
def panel(request: HttpRequest, code: str, connection_code: str, panel_code: str) -> HttpResponse:
    """What the panel shows of this connection now, or why it shows nothing: never an error page."""
    customer = customer_for(request, code)
    connection = get_object_or_404(customer.connections, code=connection_code)
    found = panels.find(panel_code)
    if found is None:
        raise Http404
    is_part = request.htmx  # type: ignore[attr-defined]
    template = "integrations/partials/panel.html" if is_part else "integrations/panel.html"
    sight = panels.look(found, connection)
    return render(request, template, {"connection": connection, "panel": found, "sight": sight})
