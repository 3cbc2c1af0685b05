from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.access import current_user
from accounts.models import Customer


@login_not_required
def home(request: HttpRequest) -> HttpResponse:
    """The start page; redirects a signed-in user to the customer they used last, and staff to Operations."""
    if not request.user.is_authenticated:
        return render(request, "home.html")
    user = current_user(request)
    mine = Customer.objects.filter(memberships__user=user)
    customer = mine.filter(pk=user.last_customer_id or 0).first() or mine.first()
    if customer is None and user.is_staff:
        return redirect("staff_home")
    if customer is None:
        return render(request, "accounts/no_customer.html")
    return redirect("dashboard", customer.code)
