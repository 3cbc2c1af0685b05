"""Personal access tokens: SnapInspect issues them by e-mail, and wants the webhook address with the request.

So the connection, and its own address, come first; the token is pasted when the answer has arrived, which may be days
later.
"""

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import audit
from accounts.access import MAY_CONNECT, current_user, customer_for
from integrations.events import webhook_addresses
from integrations.models import Connection, Kind, State
from integrations.tokens import custody
from integrations.tokens.encryption import CannotUnseal
from integrations.views.forms import PersonalTokenForm


@require_POST
def start(request: HttpRequest, code: str) -> HttpResponse:
    """Leads to the page of a connection that waits for its token, made now if there is none yet."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    waiting = customer.connections.filter(kind=Kind.PERSONAL, state=State.CONNECTING, pairs=None).first()
    if waiting is None:
        with transaction.atomic():
            waiting = Connection.objects.create(
                customer=customer, kind=Kind.PERSONAL, connected_by=current_user(request)
            )
            audit.record("personal.started", customer=customer, actor=current_user(request), subject=waiting.code)
            # SnapInspect wants the address together with the request for the token.
            webhook_addresses.issue(waiting, by=current_user(request))
    return redirect("personal_token", customer.code, waiting.code)


@sensitive_post_parameters("token")
@require_http_methods(["GET", "POST"])
def give(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """What to write to SnapInspect, and the field for the token that comes back."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = get_object_or_404(customer.connections.shown(), code=connection_code, kind=Kind.PERSONAL)
    form = PersonalTokenForm(request.POST or None)
    if not form.is_valid():
        try:
            address = webhook_addresses.address_of(connection) if customer.is_owner else ""
        except CannotUnseal:
            address = ""
        context = {"connection": connection, "form": form, "address": address}
        return render(request, "integrations/personal_token.html", context)
    with transaction.atomic():
        custody.receive_personal(connection, form.cleaned_data["token"], by=current_user(request))
        audit.record("personal.received", customer=customer, actor=current_user(request), subject=connection.code)
    messages.info(request, "Token saved. Checking it with SnapInspect…")
    return redirect("dashboard", customer.code)
