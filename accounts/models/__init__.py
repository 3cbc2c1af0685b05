"""Who is here, for which customer, and what they did.

User        a person                                   (people)
Customer    the tenant                                 (people)
Membership  a person at a customer, with a role        (people)
Invitation  an address that may join a customer        (invitations)
AuditEntry  one thing that somebody, or the system did (audit)
"""

from accounts.models.audit import AuditEntry
from accounts.models.invitations import Invitation
from accounts.models.people import (
    Customer,
    LastOwner,
    Membership,
    Role,
    User,
    new_code,
)

__all__ = ["AuditEntry", "Customer", "Invitation", "LastOwner", "Membership", "Role", "User", "new_code"]
