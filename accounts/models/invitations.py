from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models.people import MAX_EMAIL_LENGTH, Customer, Membership, Role, User


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def pending(self) -> Self:
        """Neither accepted nor withdrawn; may be expired."""
        return self.filter(accepted_at=None, withdrawn_at=None)

    def live(self) -> Self:
        """Those whose link works: in time, and sent by somebody who still may invite."""
        owner = Membership.objects.owners().filter(customer=OuterRef("customer"), user=OuterRef("invited_by"))
        staff = User.objects.filter(pk=OuterRef("invited_by"), is_staff=True)
        return self.pending().filter(Exists(owner) | Exists(staff), expires_at__gt=Now())


class Invitation(models.Model):
    """An address that may join a customer, once, by a mailed link. Sent again, it keeps its row and its link."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField("e-mail", max_length=MAX_EMAIL_LENGTH)
    role = models.CharField(max_length=10, choices=Role)
    # Only the hash: reading the table is not enough to join.
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "email"],
                condition=Q(accepted_at=None, withdrawn_at=None),
                name="one_pending_invitation_per_address",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invited_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.customer} ({self.get_role_display()})"

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    def accept(self) -> bool:
        """Marks it accepted; returns False if its link works no more."""
        used = Invitation.objects.live().filter(pk=self.pk, token_hash=self.token_hash).update(accepted_at=Now())
        return used == 1

    def withdraw(self) -> bool:
        """Ends it; returns False if it was accepted or withdrawn already."""
        return Invitation.objects.pending().filter(pk=self.pk).update(withdrawn_at=Now()) == 1
