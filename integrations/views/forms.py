"""What people type, checked, with a sentence for each mistake."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict

from integrations import wording
from integrations.calls import tables
from integrations.events.selection import Selection
from integrations.models import Connection, Event, Panel
from integrations.models.deliveries import ID_LENGTH, TYPE_LENGTH
from integrations.snapinspect import safe_urls
from integrations.snapinspect.token_pair import LONGEST_TOKEN, is_token

NOT_A_PATH = (
    "Only a path below SnapInspect's API address can be asked for, such as user or inspections?page=2: no address of"
    " another host, no “..”, no “//” or “@” at the start of a part, no spaces or line ends; write other characters as"
    " percent escapes."
)


class PersonalTokenForm(forms.Form):
    # A password field is never filled in again by the page that refuses it.
    token = forms.CharField(
        label="Personal access token",
        max_length=LONGEST_TOKEN,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_token(self) -> str:
        # Copied from an e-mail, it may bring its line end along.
        token: str = self.cleaned_data["token"].strip()
        if not is_token(token):
            raise forms.ValidationError("A token holds no spaces and only plain letters, digits and signs.")
        return token


class NameForm(forms.Form):
    name = forms.CharField(
        label="Name",
        max_length=100,
        required=False,
        help_text="How you call it here. Leave it empty for the company’s name at SnapInspect.",
    )

    def clean_name(self) -> str:
        """On one line: it stands in the subjects of mails."""
        return " ".join(self.cleaned_data["name"].split())


class ExplorerForm(forms.Form):
    """connections: those that may be asked; the only one needs not be chosen."""

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
        return _path(self.cleaned_data["path"])

    def clean(self) -> None:
        if "connection" in self.errors:
            self.add_error(None, "This connection cannot be asked now. Reconnect it, or choose another one.")


class PanelForm(forms.ModelForm[Panel]):
    class Meta:
        model = Panel
        fields = ["title", "path", "rows_at", "columns", "refresh_seconds", "position", "is_active"]
        help_texts = {
            "path": "A path below the API address, with its query: inspections?sort=newest",
            "rows_at": "The dotted path to the list of rows in the answer: data.items. Empty: the answer is the list.",
            "columns": (
                "One a line: a label, a colon, the dotted path of the value in a row. For example<br>"
                "Inspection: sTitle<br>Address: asset.sAddress<br>First photo: photos.0.sUrl"
            ),
            "refresh_seconds": "How old what people see may be: 10 to 86400.",
            "position": "Smaller numbers come first.",
            "is_active": "Customers see the panel. Save it without, and press “Try it” first.",
        }
        widgets = {"columns": forms.Textarea(attrs={"rows": 6, "spellcheck": "false"})}

    def clean_path(self) -> str:
        return _path(self.cleaned_data["path"])

    def clean_rows_at(self) -> str:
        return _definition(self.cleaned_data["rows_at"], tables.parse_path)

    def clean_columns(self) -> str:
        return _definition(self.cleaned_data["columns"], tables.parse_columns)


class SelectionForm(forms.Form):
    """The filter of the events list, from the address. Unknown values are said to be unknown, never left out."""

    q = forms.CharField(
        label="Inspection ID",
        required=False,
        max_length=ID_LENGTH,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    state = forms.ChoiceField(
        label="State",
        required=False,
        choices=[("", "All"), *Event.State.choices],
        error_messages={"invalid_choice": "There is no state “%(value)s”."},
    )
    type = forms.ChoiceField(
        label="What",
        required=False,
        error_messages={"invalid_choice": "No event can be of this type."},
    )
    connection = forms.ChoiceField(
        label="Connection",
        required=False,
        error_messages={"invalid_choice": "You have no connection with this code."},
    )
    since = forms.DateField(
        label="From (UTC day)",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": "Write the day like 2026-11-24."},
    )
    until = forms.DateField(
        label="To (UTC day)",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": "Write the day like 2026-11-24."},
    )

    def __init__(self, data: QueryDict, *, connections: list[Connection]) -> None:
        super().__init__(data)
        types = dict(wording.EVENT_TYPES)
        asked = data.get("type", "")
        # SnapInspect may send types that nobody has written down: an address may ask for any.
        if asked and len(asked) <= TYPE_LENGTH and "\0" not in asked:
            types.setdefault(asked, asked)
        self._choices("type", list(types.items()))
        self._choices("connection", [(connection.code, connection.label) for connection in connections])
        if len(connections) < 2 and not data.get("connection"):
            del self.fields["connection"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", "This day is before the first one.")
        return cleaned

    @property
    def selection(self) -> Selection:
        """What was asked for. Call it on a valid form."""
        return Selection(**{name: value for name, value in self.cleaned_data.items() if value})

    @property
    def said(self) -> list[tuple[str, str]]:
        """What was asked for, in words: the label of each field that is set, and what it is set to."""
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

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "All"), *choices]


def _path(text: str) -> str:
    if not safe_urls.is_path(text):
        raise forms.ValidationError(NOT_A_PATH)
    return text


def _definition(text: str, read: Any) -> str:
    try:
        read(text)
    except tables.BadDefinition as bad:
        raise forms.ValidationError(str(bad)) from None
    return text.strip()
