import secrets
import unicodedata
from typing import Any, ClassVar

from allauth.account import forms as allauth_forms
from django import forms
from django.contrib.auth import password_validation
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from accounts import invitations
from accounts.models import MAX_EMAIL_LENGTH, Customer, Invitation, Role, User

# What each role may do, in a sentence.
ROLE_MEANINGS = {
    Role.OWNER: "manages everything, including people",
    Role.MEMBER: "connects, disconnects and replays, but cannot manage people",
    Role.VIEWER: "can view everything, but change nothing",
}
ROLE_CHOICES = [(role.value, f"{role.label}: {means}") for role, means in ROLE_MEANINGS.items()]


class NameField(forms.CharField):
    """A name on one line, of which something is visible: names stand in the subjects of mails, and in links.

    Line breaks become spaces. Characters that turn the direction of the text around are removed.
    """

    # Letters that are blank: Hangul fillers, the blank Braille pattern, a joiner of marks.
    _BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
    _TURNING = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])

    def to_python(self, value: Any) -> str:
        return " ".join(str(super().to_python(value)).translate(self._TURNING).split())

    def validate(self, value: str) -> None:
        super().validate(value)
        if value and not any(unicodedata.category(char)[0] in "LNPSM" and char not in self._BLANK for char in value):
            raise forms.ValidationError("Enter a name with visible characters.")


def company_name_field() -> NameField:
    return NameField(
        label="Company name",
        max_length=Customer._meta.get_field("name").max_length,
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )


def password_rules() -> str:
    """What a password has to be, in a few words: the list of Django's validators fills half a phone."""
    rules = password_validation.get_default_password_validators()
    shortest = max(rule.min_length for rule in rules if isinstance(rule, password_validation.MinimumLengthValidator))
    return f"At least {shortest} characters. Not only digits, not a common password, and unlike your email address."


class WithoutPlaceholders:
    """Labels and help in our words. Without the placeholders that allauth gives its fields: they repeat the labels."""

    LABELS: ClassVar = {
        "login": "Email",
        "oldpassword": "Current password",
        "password1": "New password",
        "password2": "New password again",
    }
    fields: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.LABELS.get(name, field.label)
            if name == "password1":
                field.help_text = password_rules()


class LoginForm(WithoutPlaceholders, allauth_forms.LoginForm):
    """Email and password."""


class AddEmailForm(WithoutPlaceholders, allauth_forms.AddEmailForm):
    """A further address."""


class ChangePasswordForm(WithoutPlaceholders, allauth_forms.ChangePasswordForm):
    """The password that was, and the new one twice."""


class ResetPasswordForm(WithoutPlaceholders, allauth_forms.ResetPasswordForm):
    """The address that the link is mailed to."""


class ResetPasswordFromKeyForm(WithoutPlaceholders, allauth_forms.ResetPasswordKeyForm):
    """The new password, twice, behind the link."""


class SignupForm(WithoutPlaceholders, allauth_forms.SignupForm):
    """Creates a user and the customer they own, both or neither."""

    LABELS: ClassVar = {"password1": "Password"}
    company = company_name_field()
    field_order = ["company", "email", "password1"]

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        """The new user, or allauth's answer to an address that has an account already, after as much work."""
        if self.account_already_exists:
            self._create_and_undo(request)
        saved: tuple[User | None, HttpResponse | None] = super().try_save(request)
        return saved

    def _create_and_undo(self, request: HttpRequest) -> None:
        """Takes as long as a sign-up: a quicker answer would tell a stranger that the address has an account."""
        known = self.cleaned_data["email"]
        self.cleaned_data["email"], self.account_already_exists = f"{secrets.token_hex(8)}@example.invalid", False
        try:
            # The outer transaction is committed, as that of a sign-up is.
            with transaction.atomic(), transaction.atomic():
                self.save(request)
                transaction.set_rollback(True)
        finally:
            self.cleaned_data["email"], self.account_already_exists = known, True

    def save(self, request: HttpRequest) -> User:
        # allauth's sign-up is not atomic: without this a failure here would leave a user without a customer.
        with transaction.atomic():
            user = super().save(request)
            assert isinstance(user, User)
            Customer.objects.create_with_owner(self.cleaned_data["company"], owner=user)
        return user


class InvitedSignupForm(WithoutPlaceholders, allauth_forms.SignupForm):
    """Creates a user who is a member of the customer that invited them, both or neither."""

    LABELS: ClassVar = {"password1": "Password"}

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation
        self.fields["email"].disabled = True
        self.initial["email"] = invitation.email

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        if self.account_already_exists:
            # The link was mailed to this address, so nobody else learns that it has an account.
            self.add_error(None, "This address already has an account. Sign in to join.")
        return cleaned

    def save(self, request: HttpRequest) -> User:
        """Raises Invitation.DoesNotExist, and creates no user, if it was used or withdrawn meanwhile."""
        with transaction.atomic():
            user = super().save(request)
            assert isinstance(user, User)
            if not invitations.accept(self.invitation, user):
                raise Invitation.DoesNotExist
        return user


class InvitationForm(forms.Form):
    email = forms.EmailField(
        label="Email", max_length=MAX_EMAIL_LENGTH, widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(choices=ROLE_CHOICES, initial=Role.MEMBER)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role)


class ProfileForm(forms.ModelForm[User]):
    """How a user is called, for the other members of their companies."""

    first_name = NameField(
        max_length=User._meta.get_field("first_name").max_length,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )
    last_name = NameField(
        max_length=User._meta.get_field("last_name").max_length,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "family-name"}),
    )

    class Meta:
        model = User
        fields = ("first_name", "last_name")


class CompanyForm(forms.Form):
    company = company_name_field()
