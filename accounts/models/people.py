"""Users, customers, and who belongs to which in what role."""

import secrets
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Lower, Now

from accounts.kept_queries import KeptQuery

# No vowels and no look-alikes: codes are read out on the phone and must not spell words.
CODE_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
CODE_LENGTH = 12
# RFC 5321 allows no more; allauth's columns hold as much.
MAX_EMAIL_LENGTH = 254


def new_code() -> str:
    """A public identifier for URLs: 12 characters, 57 random bits, never a primary key."""
    # One call for all characters: events get their codes by the thousand.
    left, code = secrets.randbelow(len(CODE_ALPHABET) ** CODE_LENGTH), ""
    for _ in range(CODE_LENGTH):
        left, index = divmod(left, len(CODE_ALPHABET))
        code += CODE_ALPHABET[index]
    return code


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Creates a user who signs in with this e-mail address; without a password they cannot sign in yet."""
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get(self, *args: Any, **kwargs: Any) -> "User":
        """As QuerySet.get. By SQL that is kept, if nothing but an ID is asked for: so is the person of every page.

        A sign-in backend of our own could do the same, but sessions name their backend: all would end.
        """
        # Managers of relations are of classes below this one, and find less than all users.
        if type(self) is UserManager and self._db is None and not args and [*kwargs] == ["pk"]:
            (pk,) = kwargs.values()
            if type(pk) is int and pk.bit_length() < 64:  # Django finds nobody for a larger one; SQLite fails
                if found := _users(pk):
                    return found[0]
                raise User.DoesNotExist
        return super().get(*args, **kwargs)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractUser):
    """A person. Signs in by e-mail address; belongs to customers through memberships."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail", max_length=MAX_EMAIL_LENGTH, unique=True)
    last_customer = models.ForeignKey(
        "Customer", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    # None while this user wants no daily digest.
    next_digest_at = models.DateTimeField(null=True, blank=True, editable=False, db_index=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_per_email")]

    def __str__(self) -> str:
        return self.email

    @property
    def display_name(self) -> str:
        """The name that they gave; without one, their address."""
        return self.get_full_name() or self.email

    @property
    def has_confirmed_email(self) -> bool:
        """Whether they have proven that mail to this address reaches them."""
        return self.emailaddress_set.filter(email__iexact=self.email, verified=True).exists()


_users = KeptQuery(lambda pk: User.objects.filter(pk=pk))


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    MEMBER = "member", "Member"
    VIEWER = "viewer", "Viewer"


class LastOwner(Exception):
    """The change would leave a customer without an owner."""


class CustomerManager(models.Manager["Customer"]):
    def create_with_owner(self, name: str, *, owner: User) -> "Customer":
        """Creates a customer and its first owner, both or neither."""
        with transaction.atomic():
            customer = self.create(name=name)
            Membership.objects.create(customer=customer, user=owner, role=Role.OWNER)
        return customer


class Customer(models.Model):
    """The tenant: all other data belongs to one."""

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    name = models.CharField(max_length=100)
    # The operator's own ID for it, given through the API; empty: none.
    external_id = models.CharField(max_length=100, blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(User, through="Membership", related_name="customers")

    objects: ClassVar[CustomerManager] = CustomerManager()

    # The visitor's role, for views and templates; set by access.customer_for().
    role: str = ""

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["external_id"], condition=~Q(external_id=""), name="one_customer_per_external_id"
            )
        ]
        indexes = [models.Index(fields=["name", "id"], name="customer_by_name")]

    def __str__(self) -> str:
        return self.name

    def has_other_owner(self, user: User) -> bool:
        """Whether another owner of this customer can sign in."""
        return self.memberships.active().owners().exclude(user=user).exists()

    def names(self) -> dict[str, str]:
        """The members' addresses, each with the name to show for it."""
        return {user.email: user.display_name for user in self.members.all()}

    @property
    def is_owner(self) -> bool:
        return self.role == Role.OWNER

    def lock(self) -> None:
        """Blocks other changes of this customer's members until this transaction ends.

        On SQLite the transaction itself does: it is IMMEDIATE, so there is one at a time.
        """
        Customer.objects.select_for_update().get(pk=self.pk)

    @property
    def may_connect(self) -> bool:
        """Whether the visitor may connect, reconnect and disconnect."""
        return self.role in {Role.OWNER, Role.MEMBER}


class MembershipQuerySet(models.QuerySet["Membership"]):
    def active(self) -> Self:
        """Those of users who can sign in."""
        return self.filter(user__is_active=True)

    def owners(self) -> Self:
        return self.filter(role=Role.OWNER)

    def wanting_trouble_mails(self) -> Self:
        """Those who want mails about trouble. The default, until a user has chosen, is owners only."""
        return self.filter(Q(trouble_mails=True) | Q(trouble_mails=None, role=Role.OWNER))


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)
    # None until this user has chosen: see wanting_trouble_mails().
    trouble_mails = models.BooleanField(null=True, blank=True)
    daily_digest = models.BooleanField(default=False, db_default=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "customer"], name="one_membership_per_person"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} at {self.customer} ({self.get_role_display()})"

    @property
    def gets_trouble_mails(self) -> bool:
        return self.role == Role.OWNER if self.trouble_mails is None else self.trouble_mails

    def change_role(self, role: Role) -> None:
        """Changes the role, from the user's next request on.

        Raises LastOwner if the customer would have no owner left, DoesNotExist if the membership has ended.
        """
        with transaction.atomic():
            self._lock(needs_other_owner=role != Role.OWNER)
            Membership.objects.filter(pk=self.pk).update(role=role)
            if role != Role.OWNER:
                self._withdraw_invitations()

    def end(self) -> None:
        """Deletes the membership. Raises like change_role()."""
        with transaction.atomic():
            self._lock(needs_other_owner=True)
            Membership.objects.filter(pk=self.pk).delete()
            self._withdraw_invitations()

    def _withdraw_invitations(self) -> None:
        """Ends what this user has sent in the name of the customer."""
        self.customer.invitations.filter(invited_by=self.user, accepted_at=None, withdrawn_at=None).update(
            withdrawn_at=Now()
        )

    def _lock(self, *, needs_other_owner: bool) -> None:
        # Lock first, then read: of two owners who step down at the same time, the second one sees the first.
        self.customer.lock()
        self.refresh_from_db(fields=["role"])
        if needs_other_owner and self.role == Role.OWNER and not self.customer.has_other_owner(self.user):
            raise LastOwner
