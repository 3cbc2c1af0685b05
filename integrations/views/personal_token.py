"""Personal access tokens: the page with the text of the e-mail to SnapInspect's support, and the field for the token.

A token is proved in the form: one that SnapInspect does not accept changes nothing and mails nobody.
"""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.access import MAY_CONNECT, current_user, customer_for
from accounts.models import Customer
from integrations import wording
from integrations.calls import health_check
from integrations.connecting import personal_tokens
from integrations.events import webhook_addresses
from integrations.models import Connection, Kind, State
from integrations.tokens.encryption import CannotUnseal
from integrations.views.forms import PersonalTokenForm


@sensitive_post_parameters("token")
@require_http_methods(["GET", "POST"])
def start(request: HttpRequest, code: str) -> HttpResponse:
    """The page for a new connection. A POST without a token makes the connection and its webhook address first."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    waiting = personal_tokens.waiting(customer)
    if request.method == "POST" and "token" not in request.POST:
        waiting = personal_tokens.begin(customer, by=current_user(request))
    if waiting is not None and "token" not in request.POST:
        return redirect("personal_token", customer.code, waiting.code)
    return _page(request, customer, waiting)


@sensitive_post_parameters("token")
@require_http_methods(["GET", "POST"])
def give(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The same for a connection that is there: its first token, or another one."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    connection = get_object_or_404(customer.connections.shown(), code=connection_code, kind=Kind.PERSONAL)
    return _page(request, customer, connection)


def _page(request: HttpRequest, customer: Customer, connection: Connection | None) -> HttpResponse:
    form = PersonalTokenForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _connect(request, customer, connection, form):
        return redirect("dashboard", customer.code)
    try:
        address = webhook_addresses.address_of(connection) if connection and customer.is_owner else ""
    except CannotUnseal:
        address = ""
    context = {"connection": connection, "form": form, "address": address}
    return render(request, "integrations/personal_token.html", context)


def _connect(request: HttpRequest, customer: Customer, connection: Connection | None, form: PersonalTokenForm) -> bool:
    """Connects with the token of the form, or adds to the form why it cannot."""
    user, token = current_user(request), form.cleaned_data["token"]
    if audit.counted_lately(customer, "personal.refused", within=form.COUNTED_FOR) >= form.MOST_REFUSED:
        form.add_error("token", "Too many tokens were refused. Wait a minute, then try again.")
        return False
    verdict = health_check.check_personal_token(token)
    if verdict.profile is None:
        if verdict.refused:
            subject = connection.code if connection else ""
            audit.record("personal.refused", customer=customer, actor=user, subject=subject)
        form.add_error("token", wording.personal_token_trouble(verdict.error_kind, is_refused=verdict.refused))
        return False
    profile = verdict.profile
    if connection and connection.company_id not in {"", profile.company_id}:
        its_own = wording.company(connection.company_name, connection.company_id)
        other = wording.company(profile.company_name or "", profile.company_id or "")
        form.add_error("token", f"This token is for {other}, but this connection is for {its_own}. Nothing was saved.")
        return False
    pk = personal_tokens.connect(customer, connection, token, profile, by=user)
    connected = Connection.objects.shown().filter(pk=pk).first()
    if connected is None:
        messages.info(request, wording.CONNECTED_BEFORE)
    elif connected.badge == State.CONNECTED:
        has_events = connected.events.exists()
        messages.success(request, wording.connected(connected.company_id, has_events=has_events))
    return True
