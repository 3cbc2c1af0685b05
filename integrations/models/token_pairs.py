"""Token pairs, encrypted."""

from typing import Any, NamedTuple, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from integrations.models.leases import UNLEASED


class SealedPair(NamedTuple):
    """The columns of a row that every call needs, read without the ORM."""

    id: int
    version: int
    sealed_access: bytes | memoryview
    sealed_refresh: bytes | memoryview
    # As the driver returns it; None, too, where it was not read.
    proved_at: object = None

    @property
    def pair_version(self) -> tuple[int, int]:
        return self.id, self.version


class TokenPairQuerySet(models.QuerySet["TokenPair"]):
    def candidates(self) -> Self:
        return self.filter(role=TokenPair.Role.CANDIDATE)

    def for_pages(self) -> Self:
        """Candidates without their sealed tokens."""
        return self.candidates().defer(*TokenPair.NOT_FOR_PAGES)

    def current(self) -> Self:
        return self.filter(role=TokenPair.Role.CURRENT)

    def unleased(self) -> Self:
        """Pairs without a lease, or whose lease has expired by the database's clock."""
        return self.filter(UNLEASED)

    def interrupted(self) -> Self:
        """Current pairs whose exchange was sent, and whose lease then expired before the answer was stored."""
        return self.current().unleased().filter(exchange_sent_at__isnull=False, next_try_at__lte=Now())

    def waiting(self) -> Self:
        """Current pairs that must not be renewed before `next_try_at`."""
        return self.current().exclude(error_kind__in=["", "no_room"]).filter(next_try_at__gt=Now())

    def due_for_erasure(self) -> Self:
        """Pairs that a disconnect should have erased by now."""
        return self.filter(erase_after__lt=Now())

    def due(self) -> Self:
        """Unleased candidates whose next step may be tried now."""
        return self.candidates().unleased().filter(asks=False, next_try_at__lte=Now(), erase_after=None)


class TokenPair(models.Model):
    """An access token and its refresh token, sealed. Only `integrations.tokens` writes it.

    A row is created once and then changed by conditional updates under its lease only: `save()` on an object that was
    read earlier would restore tokens that an exchange has invalidated since.
    """

    FINGERPRINT_LENGTH = 6
    NOT_FOR_PAGES = ("sealed_access", "sealed_refresh")

    class Role(models.TextChoices):
        CANDIDATE = "candidate", "Candidate"
        CURRENT = "current", "Current"

    connection = models.ForeignKey("integrations.Connection", on_delete=models.CASCADE, related_name="pairs")
    role = models.CharField(max_length=10, choices=Role, default=Role.CANDIDATE)
    sealed_access = models.BinaryField()
    sealed_refresh = models.BinaryField()  # empty for a personal access token, which has none
    key_id = models.CharField(max_length=8)
    # Of the access token, see `snapinspect.token_pair.fingerprint`. For people to tell pairs apart.
    fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH)
    version = models.PositiveIntegerField(default=1)

    lease_owner = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)

    # The journal of an exchange: written before the request, cleared by its answer. When another worker finds it
    # written, the outcome is unknown.
    exchange_sent_at = models.DateTimeField(null=True)
    exchange_sends = models.PositiveSmallIntegerField(default=0)
    room = models.BinaryField(default=bytes)  # filler: reserves space in the database for the answer

    # The progress of a candidate.
    exchanged_at = models.DateTimeField(null=True)
    proved_at = models.DateTimeField(null=True)
    profile = models.JSONField(default=dict)
    asks = models.BooleanField(default=False)  # waits for a person: this is another company than before
    brought_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    received_at = models.DateTimeField(db_default=Now())
    # Set by a disconnect, which then erases the pair itself; the sweep erases what is left after this moment. Once it
    # is set, the pair is not changed any more.
    erase_after = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    error_kind = models.CharField(max_length=30, blank=True)

    objects = TokenPairQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["connection", "role"], name="one_pair_per_role"),
            models.CheckConstraint(condition=Q(role__in=["candidate", "current"]), name="pair_role_is_known"),
        ]
        indexes = [
            models.Index(fields=["role", "next_try_at"], name="pair_next_try"),
            # Which keys are needed, asked by every request to /health/ready.
            models.Index(fields=["key_id"], name="pair_key"),
            # For the sweep. An exchange takes a second, so there is hardly ever a row.
            models.Index(
                fields=["exchange_sent_at"], condition=Q(exchange_sent_at__isnull=False), name="pair_in_exchange"
            ),
            models.Index(fields=["erase_after"], condition=Q(erase_after__isnull=False), name="pair_to_erase"),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} pair {self.fingerprint}"

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("A token pair is changed through integrations.tokens.lease, never by save().")
        super().save_base(*args, **kwargs)
