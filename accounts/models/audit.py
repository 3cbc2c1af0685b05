from django.db import models

from accounts.models.people import MAX_EMAIL_LENGTH, Customer, User


class AuditEntry(models.Model):
    """One thing that a user or the system did or refused to do. Written once, never changed, holds no secret."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="audit_entries")
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    # The e-mail address of the actor, as it was then; stays when the account goes. Empty: the system.
    actor_name = models.CharField(max_length=MAX_EMAIL_LENGTH, blank=True, db_default="")
    kind = models.CharField(max_length=50)
    # The public code of the connection concerned, if any.
    subject = models.CharField(max_length=16, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["customer", "subject", "-at"], name="audit_by_subject"),
            models.Index(fields=["customer", "-id"], name="audit_by_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".strip()

    @property
    def who(self) -> str:
        """The actor in words."""
        return self.actor_name or "the system"

    @property
    def who_by_name(self) -> str:
        """The actor by the name that they gave, while their account exists."""
        return self.actor.display_name if self.actor else self.actor_name or "The system"
