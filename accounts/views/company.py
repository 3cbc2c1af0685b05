"""A customer's name, and starting another customer."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.access import OWNERS, current_user, customer_for
from accounts.forms import CompanyForm
from accounts.models import AuditEntry, Customer

# Companies that one user may start in 24 hours.
MAX_PER_DAY = 10


@require_http_methods(["GET", "POST"])
def company(request: HttpRequest, code: str) -> HttpResponse:
    """The settings of a company, for its owners."""
    customer = customer_for(request, code, roles=OWNERS)
    form = CompanyForm(request.POST or None, initial={"company": customer.name})
    if not form.is_valid():
        return render(request, "accounts/company.html", {"form": form})
    name = form.cleaned_data["company"]
    if name != customer.name:
        with transaction.atomic():
            Customer.objects.filter(pk=customer.pk).update(name=name)
            audit.record(
                "customer.renamed", customer=customer, actor=current_user(request), before=customer.name, after=name
            )
        messages.success(request, f"The company is now called {name}.")
    return redirect("company", customer.code)


@require_http_methods(["GET", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Another company for a signed-in user; where sign-up is closed, only staff create companies."""
    if not settings.SIGNUP_OPEN:
        raise PermissionDenied
    owner = current_user(request)
    form = CompanyForm(request.POST or None)
    if form.is_valid() and _started_today(owner.pk) >= MAX_PER_DAY:
        form.add_error(None, f"You added {MAX_PER_DAY} companies today. Try again tomorrow.")
    if not form.is_valid():
        return render(request, "accounts/start_company.html", {"form": form})
    with transaction.atomic():
        customer = Customer.objects.create_with_owner(form.cleaned_data["company"], owner=owner)
        audit.record("customer.started", customer=customer, actor=owner)
    return redirect("dashboard", customer.code)


def _started_today(user_pk: int) -> int:
    day = timezone.now() - timedelta(days=1)
    return AuditEntry.objects.filter(kind="customer.started", actor=user_pk, at__gt=day).count()
