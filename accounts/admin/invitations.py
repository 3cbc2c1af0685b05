"""All invitations, read-only, and a field that invites a customer's owner by the same mail that owners send."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest

from accounts import invitations
from accounts.access import current_user
from accounts.admin.base import ReadOnlyAdmin, ReadOnlyInline, link_column
from accounts.forms import company_name_field
from accounts.models import MAX_EMAIL_LENGTH, Customer, Invitation, Role


class InvitationInline(ReadOnlyInline):
    model = Invitation
    template = "admin/edit_inline/tabular.html"
    fields = ["email", "role", "invited_by", "created_at", "expires_at", "accepted_at", "withdrawn_at"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("invited_by", "customer")


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    list_display = [
        "email",
        link_column("customer"),
        "role",
        link_column("invited_by"),
        "created_at",
        "expires_at",
        "ended",
    ]
    list_filter = ["role", ("accepted_at", admin.EmptyFieldListFilter)]
    search_fields = ["email", "customer__name", "=customer__code"]
    search_help_text = "Address, or customer."
    date_hierarchy = "created_at"
    list_select_related = ["customer", "invited_by"]

    @admin.display(description="status")
    def ended(self, invitation: Invitation) -> str:
        if invitation.accepted_at:
            return "accepted"
        if invitation.withdrawn_at:
            return "withdrawn"
        return "its time is up" if invitation.is_expired else "waits for an answer"


class OwnerForm(forms.ModelForm[Customer]):
    name = company_name_field()
    invite_owner = forms.EmailField(
        label="Invite an owner",
        max_length=MAX_EMAIL_LENGTH,
        required=False,
        help_text="We email a link to join as owner. Sending again creates a new link.",
    )

    class Meta:
        model = Customer
        fields = ("name",)


class OwnerInvitationAdmin(admin.ModelAdmin[Customer]):
    """Adds to the admin of customers a field for the address of an owner to invite."""

    form = OwnerForm

    def save_model(self, request: HttpRequest, obj: Customer, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if email := form.cleaned_data.get("invite_owner"):
            # Not inside the transaction of the admin: a mail server may take long.
            transaction.on_commit(lambda: _invite(request, obj, email))


def _invite(request: HttpRequest, customer: Customer, email: str) -> None:
    try:
        invitations.invite(request, customer, email, Role.OWNER, by=current_user(request))
    except invitations.CannotInvite as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, f"An invitation was sent to {email}.")
