"""Users, the customers they belong to, and what they did.

User        a person                                  (people)
Customer    the tenant                                (people)
Membership  a user at a customer, with a role         (people)
Invitation  an address that may join a customer       (invitations)
AuditEntry  one thing that a user or the system did   (audit)
"""

from accounts.models.audit import AuditEntry
from accounts.models.invitations import Invitation
from accounts.models.people import (
    MAX_EMAIL_LENGTH,
    Customer,
    LastOwner,
    Membership,
    Role,
    User,
    new_code,
)

__all__ = [
    "MAX_EMAIL_LENGTH",
    "AuditEntry",
    "Customer",
    "Invitation",
    "LastOwner",
    "Membership",
    "Role",
    "User",
    "new_code",
]
