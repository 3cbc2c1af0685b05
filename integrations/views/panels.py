"""One panel of one connection: loaded into the dashboard after it, or, without JavaScript, a page of its own."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from accounts.access import customer_for
from integrations.calls import panels
from integrations.views.htmx import page_or_part

# Milliseconds until a panel that has to wait asks again, twice as long each time: a call takes some hundred as a rule,
# and a browser should not ask all the time while SnapInspect hangs.
FIRST_RETRY, LAST_RETRY = 250, 4000


@require_GET
def panel(request: HttpRequest, code: str, connection_code: str, panel_code: str) -> HttpResponse:
    """What the panel shows of this connection now, or why it shows nothing: never an error page."""
    customer = customer_for(request, code)
    connection = get_object_or_404(customer.connections, code=connection_code)
    panel = panels.find(panel_code)
    if panel is None:
        raise Http404
    retries = _retries(request.GET.get("retries", ""))
    context = {
        "connection": connection,
        "panel": panel,
        "content": panels.load(panel, connection),
        "retries": retries + 1,
        "retry_after": min(FIRST_RETRY << retries, LAST_RETRY),
    }
    return page_or_part(request, "integrations/panel.html", "integrations/partials/panel_answer.html", context)


def _retries(text: str) -> int:
    """How often this panel has asked in vain; 0 for anything that cannot be that."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else 0
