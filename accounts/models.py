"""Who is here, and for which customer."""

import secrets
from typing import Any, ClassVar

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models.functions import Lower

# No vowels and nothing that looks like something else: codes are read out on the phone and spell no words.
CODE_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"


def new_code() -> str:
    """A public identifier for addresses: 12 characters, 57 random bits, never a primary key."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(12))


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A person who signs in with this e-mail address; without a password they cannot sign in yet."""
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractUser):
    """A person. Signs in by e-mail; belongs to customers through memberships."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail", max_length=254, unique=True)
    last_customer = models.ForeignKey(
        "Customer", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_per_email")]

    def __str__(self) -> str:
        return self.email


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    MEMBER = "member", "Member"
    VIEWER = "viewer", "Viewer"


class CustomerManager(models.Manager["Customer"]):
    def open(self, name: str, *, owner: User) -> "Customer":
        """A new customer with its first owner, or nothing at all."""
        with transaction.atomic():
            customer = self.create(name=name)
            Membership.objects.create(customer=customer, user=owner, role=Role.OWNER)
        return customer


class Customer(models.Model):
    """The tenant: everything that belongs to somebody belongs to a customer."""

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(User, through="Membership", related_name="customers")

    objects: ClassVar[CustomerManager] = CustomerManager()

    # The visitor's role here; set by access.customer_for(), for views and templates.
    role: str = ""

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_owner(self) -> bool:
        return self.role == Role.OWNER

    @property
    def may_connect(self) -> bool:
        """Whether the visitor may connect, reconnect and disconnect."""
        return self.role in {Role.OWNER, Role.MEMBER}


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "customer"], name="one_membership_per_person"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} at {self.customer} ({self.get_role_display()})"


class AuditEntry(models.Model):
    """One thing that somebody, or the system, did or refused to do. Written once, never changed, holds no secret."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="audit_entries")
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=50)
    # The public code of what it happened to, where it happened to something (a connection).
    subject = models.CharField(max_length=16, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["customer", "subject", "-at"], name="audit_by_subject")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".strip()
