"""Linked SnapInspect users, and token pairs without a connection that tell who somebody is."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User, new_code
from integrations.models.connect_attempts import ConnectAttempt
from integrations.models.leases import UNLEASED
from integrations.models.token_pairs import TokenPair


class LinkedUser(models.Model):
    """A person here, and the SnapInspect user that they have shown to be: what *Sign in with SnapInspect* goes by."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="linked_user")
    # SnapInspect's ID, as one exact text. Never an e-mail address: those change hands.
    vendor_user_id = models.CharField("SnapInspect user ID", max_length=64, unique=True)
    name = models.CharField(max_length=200, blank=True)
    linked_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-linked_at"]

    def __str__(self) -> str:
        return f"{self.user} is SnapInspect user {self.vendor_user_id}"


class SignInOutcome(models.TextChoices):
    """How a sign-in, or the linking of a user, ended."""

    LINKED = "linked", "Linked"
    TAKEN = "taken", "Linked to somebody else"
    OTHER = "other", "Another SnapInspect user than the one linked"
    KNOWN = "known", "A linked user"
    UNKNOWN = "unknown", "Nobody here has linked this user"
    NAMELESS = "nameless", "The answer names no user"
    REFUSED = "refused", "SnapInspect refused what it had given"
    UNREACHABLE = "unreachable", "SnapInspect did not answer"
    SETUP = "setup", "Our keys did not open the pair"


class GuestTokenPairQuerySet(models.QuerySet["GuestTokenPair"]):
    def due(self) -> Self:
        """Unleased rows that tell who somebody is, and whose next step may be taken now."""
        return self._held().filter(to_revoke=False)

    def due_to_revoke(self) -> Self:
        """Unleased rows whose pair is to be revoked now."""
        return self._held().filter(to_revoke=True)

    def _held(self) -> Self:
        return self.filter(UNLEASED, next_try_at__lte=Now()).exclude(sealed_refresh=b"")

    def recent(self) -> Self:
        """Rows that a browser may still be waiting for."""
        return self.filter(to_revoke=False, received_at__gt=Now() - ConnectAttempt.LIFETIME)


class GuestTokenPair(models.Model):
    """The token pair of somebody who links their SnapInspect user, or signs in with it, until `/user` tells who it is.

    With `to_revoke`, a pair that came back for a state of ours and is used for nothing, until it is revoked: it still
    stands in the browser's history.

    Written by `integrations.tokens.guest_tokens` as long as it holds a pair.
    """

    # When SnapInspect cannot be reached for so long, the person is asked to try again, and the pair is erased.
    GIVE_UP_AFTER = timedelta(minutes=1)

    attempt = models.OneToOneField(ConnectAttempt, on_delete=models.CASCADE, related_name="guest_pair")
    to_revoke = models.BooleanField(db_default=False, default=False)
    # A part of the key context of the pair: random, so that no other row ever has it.
    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    sealed_access = models.BinaryField()
    sealed_refresh = models.BinaryField()  # empty once the pair was moved or erased
    key_id = models.CharField(max_length=8)
    fingerprint = models.CharField(max_length=TokenPair.FINGERPRINT_LENGTH)
    received_at = models.DateTimeField(db_default=Now())

    lease_owner = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(db_default=Now())
    # Written before the exchange. Without `exchanged_at` and a lease, it means that the answer is lost.
    exchange_sent_at = models.DateTimeField(null=True)
    exchanged_at = models.DateTimeField(null=True)

    outcome = models.CharField(max_length=20, choices=SignInOutcome, blank=True)
    vendor_user_id = models.CharField("SnapInspect user ID", max_length=64, blank=True)
    # A sign-in is good once, and what went wrong with a link is told once.
    used_at = models.DateTimeField(null=True)

    objects = GuestTokenPairQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["next_try_at"], condition=~Q(sealed_refresh=b""), name="guest_pair_due")]

    def __str__(self) -> str:
        return f"guest token pair {self.pk}"

    def use(self) -> bool:
        """Marks the outcome as used; returns False if it was used already."""
        return GuestTokenPair.objects.filter(pk=self.pk, used_at=None).update(used_at=Now()) == 1
