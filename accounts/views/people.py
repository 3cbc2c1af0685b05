"""The members of a customer: a page for all of them, changes for owners."""

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit, invitations
from accounts.access import OWNERS, SECOND_FACTORS, current_user, customer_for
from accounts.forms import ROLE_MEANINGS, InvitationForm, RoleForm
from accounts.models import Customer, LastOwner, Membership, Role

KEEP_AN_OWNER = "A company needs an owner. Make someone else an owner first."


@require_GET
def people(request: HttpRequest, code: str) -> HttpResponse:
    """Members with their roles; for owners also forms to change them, and pending invitations."""
    return _page(request, customer_for(request, code), InvitationForm())


@require_POST
def invite(request: HttpRequest, code: str) -> HttpResponse:
    customer = customer_for(request, code, roles=OWNERS)
    form = InvitationForm(request.POST)
    if not form.is_valid():
        return _page(request, customer, form)
    email, role = form.cleaned_data["email"], Role(form.cleaned_data["role"])
    try:
        invitations.invite(request, customer, email, role, by=current_user(request))
    except invitations.CannotInvite as problem:
        form.add_error(None, str(problem))
        return _page(request, customer, form)
    messages.success(request, f"We sent an invitation to {email}. It works for {invitations.LIFETIME.days} days.")
    return redirect("people", customer.code)


@require_POST
def invite_again(request: HttpRequest, code: str, invitation: int) -> HttpResponse:
    customer = customer_for(request, code, roles=OWNERS)
    asked = get_object_or_404(customer.invitations.pending(), pk=invitation)
    try:
        invitations.invite(request, customer, asked.email, Role(asked.role), by=current_user(request))
    except invitations.CannotInvite as problem:
        messages.error(request, str(problem))
    else:
        days = invitations.LIFETIME.days
        messages.success(request, f"We sent the invitation to {asked.email} again. It works for {days} days.")
    return redirect("people", customer.code)


@require_POST
def withdraw(request: HttpRequest, code: str, invitation: int) -> HttpResponse:
    customer = customer_for(request, code, roles=OWNERS)
    asked = get_object_or_404(customer.invitations, pk=invitation)
    if invitations.withdraw(asked, by=current_user(request)):
        messages.success(request, f"The invitation of {asked.email} is withdrawn. Its link no longer works.")
    else:
        messages.info(request, f"The invitation of {asked.email} has already ended.")
    return redirect("people", customer.code)


@require_POST
def change_role(request: HttpRequest, code: str, membership: int) -> HttpResponse:
    customer = customer_for(request, code, roles=OWNERS)
    member = _member(customer, membership)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose a role.")
        return redirect("people", customer.code)
    before, role = member.role, Role(form.cleaned_data["role"])
    try:
        with transaction.atomic():
            member.change_role(role)
            audit.record(
                "member.role_changed",
                customer=customer,
                actor=current_user(request),
                person=member.user.email,
                before=before,
                after=role.value,
            )
    except LastOwner:
        messages.error(request, KEEP_AN_OWNER)
    except Membership.DoesNotExist:
        messages.info(request, f"{member.user.email} is no longer a member.")
    else:
        messages.success(request, f"{member.user.email} is now {role.label}.")
    return redirect("people", customer.code)


@require_http_methods(["GET", "POST"])
def remove(request: HttpRequest, code: str, membership: int) -> HttpResponse:
    customer = customer_for(request, code, roles=OWNERS)
    member = _member(customer, membership)
    if request.method == "GET":
        return render(request, "accounts/remove.html", {"member": member})
    if _end(request, member, "member.removed"):
        messages.success(request, f"{member.user.email} is no longer a member.")
    return redirect("people", customer.code)


@require_http_methods(["GET", "POST"])
def leave(request: HttpRequest, code: str) -> HttpResponse:
    customer = customer_for(request, code)
    if request.method == "GET":
        only_owner = customer.is_owner and not customer.has_other_owner(current_user(request))
        return render(request, "accounts/leave.html", {"only_owner": only_owner})
    member = get_object_or_404(customer.memberships.select_related("user"), user=current_user(request))
    if not _end(request, member, "member.left"):
        return redirect("people", customer.code)
    messages.success(request, f"You left {customer.name}.")
    return redirect("home")


def _end(request: HttpRequest, member: Membership, kind: str) -> bool:
    try:
        with transaction.atomic():
            audit.record(kind, customer=member.customer, actor=current_user(request), person=member.user.email)
            member.end()
    except LastOwner:
        messages.error(request, KEEP_AN_OWNER)
        return False
    except Membership.DoesNotExist:
        pass  # another request was faster
    return True


def _member(customer: Customer, pk: int) -> Membership:
    return get_object_or_404(customer.memberships.select_related("user", "customer"), pk=pk)


def _page(request: HttpRequest, customer: Customer, form: InvitationForm) -> HttpResponse:
    factors = Authenticator.objects.filter(user=OuterRef("user"), type__in=SECOND_FACTORS)
    members = customer.memberships.select_related("user").annotate(second_factor=Exists(factors))
    pending = customer.invitations.pending().select_related("invited_by") if customer.is_owner else []
    meanings = [(role.label, means) for role, means in ROLE_MEANINGS.items()]
    return render(
        request,
        "accounts/people.html",
        {
            "members": members.order_by("user__email"),
            "pending": pending,
            "form": form,
            "roles": Role,
            "role_meanings": meanings,
        },
    )
