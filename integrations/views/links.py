"""Links for a colleague who connects from another device: making one, and following it."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import MAY_CONNECT, current_user, customer_for
from integrations import wording
from integrations.connecting import links
from integrations.models import ConnectLink
from integrations.views import connect


@require_POST
def make(request: HttpRequest, code: str, connection_code: str | None = None) -> HttpResponse:
    """Shows a new link, for a new connection or to reconnect the one named. Once: only its hash is kept."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = get_object_or_404(customer.connections, code=connection_code) if connection_code else None
    secret = links.issue(customer=customer, by=current_user(request), connection=connection)
    address = request.build_absolute_uri(reverse("connect_link", args=[customer.code, secret]))
    context = {
        "address": address,
        "connection": connection,
        "hours": round(ConnectLink.LIFETIME.total_seconds() / 3600),
    }
    return render(request, "integrations/connect_link_made.html", context)


@require_http_methods(["GET", "POST"])
def follow(request: HttpRequest, code: str, secret: str) -> HttpResponse:
    """What the link is for, and the button that goes on to SnapInspect. Looking does not use it up."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    link = links.find(customer, secret)
    if link is None:
        raise Http404
    refusal = connect.refusal_unless_registered(request, customer)
    if refusal is not None:
        return refusal
    if request.method == "POST" and links.redeem(link, by=current_user(request)):
        return connect.begin(request, customer, link.connection)
    ending = links.invalid_reason(link)
    if ending:
        return render(request, "integrations/connect_link_ended.html", {"words": wording.LINK_ENDINGS[ending]})
    return render(request, "integrations/connect_link.html", {"link": link, "connection": link.connection})
