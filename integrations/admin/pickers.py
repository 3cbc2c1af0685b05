"""Fields of staff's forms that find a row while one types, instead of asking for its code."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import Model, QuerySet

from integrations.models import Connection


class ConnectionSelect(AutocompleteSelect):
    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> dict[str, Any]:
        # Said in the empty box.
        return {**super().build_attrs(base_attrs, extra_attrs), "data-placeholder": "Find a connection"}

    def optgroups(self, name: str, value: Sequence[str], attrs: Any = None) -> Any:
        # Django asks the database for what was posted, whatever it is; a key has at most 18 digits.
        return super().optgroups(name, [one for one in value if one.isdecimal() and len(one) < 19], attrs)


def connection_picker(
    model: type[Model], field: str, among: "QuerySet[Connection]"
) -> "forms.ModelChoiceField[Connection]":
    """A field that finds connections by what the admin's list finds: code, company, account, customer.

    model, field: a foreign key to connections; Django's picker asks for one. among: those that may be chosen.
    """
    return forms.ModelChoiceField(
        among.select_related("customer"),
        widget=ConnectionSelect(model._meta.get_field(field), admin.site),
        error_messages={"invalid_choice": "This connection cannot be chosen now."},
    )
