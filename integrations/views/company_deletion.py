"""Deleting a company with everything that belongs to it, for its owners."""

import time

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.access import OWNERS, current_user, customer_for
from integrations.connecting import customer_deletion, disconnection

# For one press of the button. A disconnect that has begun may take ten seconds more.
SECONDS = 15.0


@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, code: str) -> HttpResponse:
    """Says what is deleted; then, with the password asked again, disconnects every connection and deletes all."""
    customer_for(request, code, roles=OWNERS)  # before the password: strangers are not asked for it
    answer: HttpResponse = _delete(request, code)
    return answer


@reauthentication_required
def _delete(request: HttpRequest, code: str) -> HttpResponse:
    customer, user = customer_for(request, code, roles=OWNERS), current_user(request)
    if request.method == "GET":
        context = {
            "counts": customer_deletion.counts(customer),
            "connected": customer_deletion.still_connected(customer),
            "most": customer_deletion.MOST_COUNTED,
        }
        return render(request, "integrations/company_delete.html", context)
    give_up_at = time.monotonic() + SECONDS
    for connection in customer_deletion.still_connected(customer):
        if time.monotonic() < give_up_at:
            disconnection.disconnect(connection, by=user)
    if customer_deletion.delete(customer, by=user, seconds=max(1.0, give_up_at - time.monotonic())):
        messages.success(request, f"{customer.name} is deleted.")
        return redirect("home")
    messages.warning(request, "This takes longer. Press Delete company again to continue.")
    return redirect("customer_delete", customer.code)
