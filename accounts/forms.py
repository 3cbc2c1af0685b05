from typing import Any

from allauth.account import forms as allauth_forms
from django import forms
from django.db import transaction
from django.http import HttpRequest

from accounts.models import Customer, User


class LoginForm(allauth_forms.LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "Email"
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)


class SignupForm(allauth_forms.SignupForm):
    """Signing up makes a person and the customer they own, both or neither."""

    company = forms.CharField(
        label="Company name",
        max_length=Customer._meta.get_field("name").max_length,
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    field_order = ["company", "email", "password1"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)

    def save(self, request: HttpRequest) -> User:
        # allauth's sign-up is not atomic: without this a failure here would leave a person without a customer.
        with transaction.atomic():
            user = super().save(request)
            assert isinstance(user, User)
            Customer.objects.open(self.cleaned_data["company"], owner=user)
        return user
