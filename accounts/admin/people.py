"""Users, and which customers they belong to."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.access import current_user
from accounts.admin.base import CappedPaginator, RowAdmin, link_column
from accounts.admin.confirmed_actions import confirmed
from accounts.models import Customer, Membership, User

# Kinds of audit entries.
SET, REMOVED = "member.set_by_staff", "member.removed_by_staff"
PRIVILEGES: list[str | list[str] | tuple[str, ...] | tuple[()]] = [
    "is_active",
    "is_staff",
    "is_superuser",
    "groups",
    "user_permissions",
]
# allauth has a row of its own that says whether the address is confirmed: both have to change together.
EMAIL_IS_THEIRS = "People change their address themselves, in their account, by answering a mail to the new one."


class MembershipInline(admin.StackedInline[Membership, Any]):
    model = Membership
    exclude = ["trouble_mails", "daily_digest"]  # the user's own choice
    extra = 0
    autocomplete_fields = ["user", "customer"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user", "customer")


def orphaned_by(user: User) -> list[Customer]:
    """Customers whose only owner this user is."""
    owned = Customer.objects.filter(memberships__in=user.memberships.owners())
    return [customer for customer in owned if not customer.has_other_owner(user)]


class MembershipAuditAdmin(admin.ModelAdmin[Any]):
    """Writes changes to the memberships below a row into the customers' audit trails."""

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        if formset.model is Membership:
            for membership in [*formset.new_objects, *(changed for changed, _ in formset.changed_objects)]:
                _record(request, SET, membership)
            for membership in formset.deleted_objects:
                _record(request, REMOVED, membership)


def _record(request: HttpRequest, kind: str, membership: Membership) -> None:
    email, role = membership.user.email, membership.role
    audit.record(kind, customer=membership.customer, actor=current_user(request), person=email, role=role)


@admin.register(User)
class UserAdmin(MembershipAuditAdmin, RowAdmin, DjangoUserAdmin[User]):
    ordering = ["email"]
    list_display = ["email", "first_name", "last_name", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["email", "first_name", "last_name"]
    date_hierarchy = "date_joined"
    filter_horizontal = ()  # its script makes boxes that screen readers cannot name
    fieldsets = [
        (None, {"fields": ["email", "password"], "description": EMAIL_IS_THEIRS}),
        ("Name", {"fields": ["first_name", "last_name"]}),
        ("What they may do", {"fields": PRIVILEGES}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "usable_password", "password1", "password2"]})]
    inlines = [MembershipInline]
    actions = ["delete_people"]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Only a superuser grants privileges: staff who may edit users must not make themselves superusers."""
        fixed = ["last_login", "date_joined", *(["email"] if obj else [])]
        return fixed if current_user(request).is_superuser else [*fixed, *map(str, PRIVILEGES)]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        # Nor take over a more privileged user by setting a new password.
        is_privileged = (
            obj is not None and (obj.is_staff or obj.is_superuser) and not current_user(request).is_superuser
        )
        return not is_privileged and super().has_change_permission(request, obj)

    @confirmed(
        "Delete",
        warning="These people, their sign-ins and their memberships are deleted. What they did stays in the audit"
        " trail, with their address.",
        limit=20,
        permission="superuser",
        details=lambda user: [
            f"member of {user.memberships.count()} customers",
            *(f"the only owner of {customer}: make someone else an owner first" for customer in orphaned_by(user)),
        ],
    )
    def delete_people(self, user: User, *, by: User) -> str:
        if user == by:
            return "you cannot delete yourself."
        if orphaned_by(user):
            return "is the only owner of a customer; make someone else an owner, or delete the customer first."
        with transaction.atomic():
            audit.record("person.deleted", actor=by, person=user.pk)
            for membership in user.memberships.select_related("customer"):
                audit.record(REMOVED, customer=membership.customer, actor=by, person=user.email, role=membership.role)
            user.delete()
        return ""


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin[Membership]):
    list_display = ["user", link_column("customer"), "role", "created_at"]
    list_filter = ["role"]
    search_fields = ["user__email", "customer__name", "=customer__code"]
    autocomplete_fields = ["user", "customer"]
    list_select_related = ["user", "customer"]
    date_hierarchy = "created_at"
    paginator = CappedPaginator
    show_full_result_count = False

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        _record(request, SET, obj)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        _record(request, REMOVED, obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Membership]") -> None:
        for membership in queryset.select_related("user", "customer"):
            _record(request, REMOVED, membership)
        super().delete_queryset(request, queryset)
