"""Webhook addresses, for those who have to hand them to SnapInspect: a connection's own to its owners, the
application's to staff, because its holder can post for every customer."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts.access import OWNERS, current_staff, current_user, customer_for
from integrations import wording
from integrations.events import webhook_addresses
from integrations.models import WebhookAddress
from integrations.tokens.encryption import CannotUnseal


@require_GET
def own(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The connection's own webhook address, if it has one, and the button that makes or replaces it."""
    customer = customer_for(request, code, roles=OWNERS)
    connection = get_object_or_404(customer.connections.shown(), code=connection_code)
    try:
        address, problem = webhook_addresses.address_of(connection), ""
    except CannotUnseal:
        address, problem = "", wording.trouble("cannot_unseal")
    context = {"connection": connection, "address": address, "problem": problem}
    return render(request, "integrations/webhook_address.html", context)


@require_POST
def put_in_use(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """A new address for the connection; the one before stays valid for `OLD_STAYS_VALID`."""
    customer = customer_for(request, code, roles=OWNERS)
    connection = get_object_or_404(customer.connections, code=connection_code)
    replaces = WebhookAddress.objects.filter(connection=connection, valid_until=None).exists()
    webhook_addresses.rotate(connection, by=current_user(request))
    old = " The old address works for two more weeks." if replaces else ""
    messages.success(request, f"New address created. Give it to SnapInspect.{old}")
    return redirect("webhook_address", customer.code, connection.code)


@require_GET
def registration(request: HttpRequest) -> HttpResponse:
    """The e-mail that registers this app with SnapInspect, with the application's webhook address, for staff."""
    current_staff(request, "integrations.view_webhookaddress")
    context = {"text": webhook_addresses.registration_email(), "at_registration": "page"}
    return render(request, "staff/registration.html", context)
