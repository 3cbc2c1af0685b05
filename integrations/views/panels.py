"""One panel of one connection: loaded into the dashboard after it, or, without JavaScript, a page of its own."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import customer_for
from integrations.calls import panels

# Milliseconds after which a panel that has to wait is asked for again, twice as long each time: a call takes some
# hundred as a rule, and a browser is not to knock all the time while SnapInspect hangs.
FIRST_LOOK_AGAIN, LAST_LOOK_AGAIN = 250, 4000


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
    template = "integrations/partials/panel_answer.html" if is_part else "integrations/panel.html"
    content = panels.load(found, connection)
    looks = _number(request.GET.get("looks", ""))
    again = {"looks": looks + 1, "again_in": min(FIRST_LOOK_AGAIN << looks, LAST_LOOK_AGAIN)}
    return render(request, template, {"connection": connection, "panel": found, "content": content, **again})


def _number(text: str) -> int:
    """How often this panel was looked at in vain; whatever cannot be that is 0."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else 0
