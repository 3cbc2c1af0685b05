"""What people type and what addresses ask for, checked, with a sentence for each mistake."""

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone

from accounts import audit
from accounts.forms import NameField
from accounts.models import MAX_EMAIL_LENGTH, AuditEntry, Customer
from integrations import wording
from integrations.events.selection import WAITING, Selection
from integrations.models import ApiKey, Connection, Event, Scope
from integrations.models.deliveries import ID_LENGTH, TYPE_LENGTH
from integrations.snapinspect import safe_urls
from integrations.snapinspect.token_pair import LONGEST_TOKEN, is_token


class PersonalTokenForm(forms.Form):
    # How many tokens may be refused for a customer within a minute: strangers' tokens are not guessed here.
    MOST_REFUSED = 6
    COUNTED_FOR = timedelta(minutes=1)

    # A password field: the page that refuses a token does not show it again.
    token = forms.CharField(
        label="Personal access token",
        max_length=LONGEST_TOKEN,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_token(self) -> str:
        # Copied from an e-mail, it may end with a line break.
        token: str = self.cleaned_data["token"].strip()
        if not is_token(token):
            raise forms.ValidationError(
                "Enter a token without spaces. Tokens contain only letters, digits and symbols."
            )
        return token


class NameForm(forms.Form):
    name = NameField(
        label="Name",
        max_length=Connection.NAME_LENGTH,
        required=False,
        help_text="Leave it empty to use the company name from SnapInspect.",
    )


class ApiKeyForm(forms.Form):
    DAYS = {"30": "30 days", "90": "90 days", "365": "a year", "": "until it is revoked"}

    name = NameField(label="Name", max_length=ApiKey.NAME_LENGTH, help_text="What uses the key.")
    scopes = forms.MultipleChoiceField(
        label="What it may do",
        choices=[(scope.value, f"{scope.value}: {scope.label}") for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
    )
    days = forms.ChoiceField(label="Valid for", required=False, choices=list(DAYS.items()), initial="90")

    @property
    def expires_in(self) -> timedelta | None:
        days = self.cleaned_data["days"]
        return timedelta(days=int(days)) if days else None


class ExplorerForm(forms.Form):
    """connections: those that can be asked; a single one need not be chosen."""

    connection = forms.ModelChoiceField(Connection.objects.none(), to_field_name="code", empty_label=None)
    path = forms.CharField(
        label="Path",
        max_length=safe_urls.LONGEST_PATH,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )

    def __init__(self, *arguments: Any, connections: "QuerySet[Connection]", **options: Any) -> None:
        super().__init__(*arguments, **options)
        field = self.fields["connection"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = connections
        self.can_ask = len(connections)
        if self.can_ask == 1:
            field.widget = forms.HiddenInput()
            self.initial["connection"] = connections[0].code

    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        if not safe_urls.is_path(path):
            raise forms.ValidationError(wording.NOT_A_PATH)
        return path

    def clean(self) -> None:
        if "connection" in self.errors:
            self.add_error(None, "This connection is not available right now. Reconnect it or choose another one.")


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        validators=[MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2100, 1, 1))],
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": "Enter a date like 2026-11-24."},
    )


class EventFilter(forms.Form):
    """The filter of the events list, from the address. A value that cannot be is an error, never ignored."""

    q = forms.CharField(
        label="Inspection ID",
        required=False,
        max_length=ID_LENGTH,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    state = forms.ChoiceField(
        label="State",
        required=False,
        choices=[("", "All"), *Event.State.choices, (WAITING, "Not finished")],
        error_messages={"invalid_choice": "“%(value)s” is not an event status."},
    )
    type = forms.ChoiceField(
        label="What",
        required=False,
        error_messages={"invalid_choice": "This is not an event type."},
    )
    connection = forms.ChoiceField(
        label="Connection",
        required=False,
        error_messages={"invalid_choice": "No connection has this code."},
    )
    since = _day("From")
    until = _day("To")

    def __init__(self, data: QueryDict, customer: Customer) -> None:
        super().__init__(data)
        self.connections = list(customer.connections.all())
        types = dict(wording.EVENT_TYPES)
        asked = data.get("type", "")
        # SnapInspect may send types that it does not document: an address may ask for any.
        if asked and len(asked) <= TYPE_LENGTH and "\0" not in asked:
            types.setdefault(asked, asked)
        _set_choices(self, "type", [("", "All"), *types.items()])
        named = [(connection.code, connection.label) for connection in self.connections]
        _set_choices(self, "connection", [("", "All"), *named])
        if len(named) < 2 and not data.get("connection"):
            del self.fields["connection"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", "Check the dates: “To” is before “From”.")
        return cleaned

    @property
    def selection(self) -> Selection:
        """What was asked for. The form has to be valid."""
        chosen = {name: value for name, value in self.cleaned_data.items() if value}
        has_days = "since" in chosen or "until" in chosen
        return Selection(**chosen, zone=timezone.get_current_timezone_name() if has_days else "")

    @property
    def in_words(self) -> list[tuple[str, str]]:
        """What was asked for: the label of each field that is set, and the words of its value."""
        words = []
        for field in self:
            value = self.cleaned_data.get(field.name)
            if value:
                choices = dict(getattr(field.field, "choices", []))
                words.append((str(field.label), str(choices.get(value, value))))
        return words

    @property
    def state_words(self) -> str:
        return str(Event.State(self.selection.state).label).lower()


class AuditFilter(forms.Form):
    """The filter of the audit log, from the address. A value that cannot be is an error, and does not filter."""

    SYSTEM = "system"

    about = forms.ChoiceField(
        label="About",
        required=False,
        choices=[("", "Everything"), *((code, label) for code, (label, _) in sorted(wording.GROUPS.items()))],
    )
    person = forms.ChoiceField(label="Who", required=False)
    since = _day("From")
    until = _day("To")

    def __init__(self, data: QueryDict, customer: Customer) -> None:
        super().__init__(data)
        choices = customer.names()
        # People who have left can still be looked for by their address.
        asked = data.get("person", "")
        if asked not in {"", self.SYSTEM} and len(asked) <= MAX_EMAIL_LENGTH and "\0" not in asked:
            choices.setdefault(asked, asked)
        everybody = [("", "Everybody"), (self.SYSTEM, "The system")]
        _set_choices(self, "person", [*everybody, *sorted(choices.items(), key=lambda choice: choice[1].lower())])

    def entries(self, customer: Customer) -> "QuerySet[AuditEntry]":
        """The customer's entries that match, newest first. The form has been validated, with errors or without."""
        chosen = self.cleaned_data
        entries = AuditEntry.objects.filter(customer=customer).order_by("-pk")
        if chosen.get("about"):
            entries = entries.filter(audit.of_kinds(wording.GROUPS[chosen["about"]][1]))
        if chosen.get("person"):
            entries = entries.filter(actor_name="" if chosen["person"] == self.SYSTEM else chosen["person"])
        if chosen.get("since"):
            entries = entries.filter(at__gte=_midnight(chosen["since"]))
        if chosen.get("until"):
            entries = entries.filter(at__lt=_midnight(chosen["until"] + timedelta(days=1)))
        return entries


def _set_choices(form: forms.Form, name: str, choices: list[tuple[str, str]]) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices


def _midnight(day: date) -> datetime:
    """The begin of this day in the visitor's time zone."""
    return datetime.combine(day, time(), timezone.get_current_timezone())
