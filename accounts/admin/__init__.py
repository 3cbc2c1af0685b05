"""What the operator's staff see and may do about people, and what every list of the admin is built on.

base               read-only lists and pages of rows, however many there are; links between them
confirmed_actions  actions that ask first, then act row by row, each noted in the audit trail
invitations        invitations, and inviting the owner of a customer by mail
people             users and their memberships
"""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin

from accounts.admin import people

# allauth would show everybody's second-factor secrets and session keys here.
admin.site.unregister([Authenticator, UserSession])

__all__ = ["people"]
