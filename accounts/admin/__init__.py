"""What the operator's staff see and may do about people, and what every list of the admin is built on.

base               read-only lists and pages of rows, however many there are; links between them
confirmed_actions  actions that ask first, then act row by row, each noted in the audit trail
invitations        invitations, and inviting the owner of a customer by mail
people             users and their memberships
"""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from accounts.admin import people
from accounts.admin.base import ReadOnlyAdmin, RowAdmin

# allauth would show everybody's second-factor secrets and session keys here.
admin.site.unregister([Authenticator, UserSession, EmailAddress, Group])


@admin.register(EmailAddress)
class EmailAddressAdmin(ReadOnlyAdmin):
    """Who could change an address here could make it that of a superuser, and ask for a new password."""

    list_display = ["email", "user", "primary", "verified"]
    list_filter = ["primary", "verified"]
    search_fields = ["email"]


@admin.register(Group)
class GroupAdmin(RowAdmin, DjangoGroupAdmin):
    """Only superusers change what groups may do: staff who may edit groups must not grant themselves more."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_superuser_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_superuser_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_superuser_permission(request)


__all__ = ["people"]
