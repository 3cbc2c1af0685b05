"""What the operator's staff see and may do about people, and how every list of the admin behaves.

rows         lists and pages of rows that come from the system, however many there are
confirming   actions: asked about first, done row by row, bounded, each in the audit trail
inviting     invitations, and the owner of a customer by mail
people       people and their memberships
"""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin

from accounts.admin import people

# allauth would show everybody's second-factor secrets and session keys here.
admin.site.unregister([Authenticator, UserSession])

__all__ = ["people"]
