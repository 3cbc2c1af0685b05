"""The forms about webhook endpoints."""

from typing import Any

from django import forms

from accounts.forms import NameField
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import endpoints
from integrations.outgoing.message_types import TYPES

EVERY_TYPE = WebhookEndpoint.EVERY_TYPE


class EndpointForm(forms.Form):
    """endpoint: the one to change; None for a new one."""

    url = forms.CharField(
        label="URL",
        max_length=WebhookEndpoint.LONGEST_URL,
        widget=forms.URLInput(attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "https://"}),
    )
    types = forms.MultipleChoiceField(
        label="What to send",
        choices=[(EVERY_TYPE, "Everything"), *((name, f"{name}: {words}") for name, words in TYPES.items())],
        widget=forms.CheckboxSelectMultiple,
    )
    description = NameField(label="Description", max_length=WebhookEndpoint.DESCRIPTION_LENGTH, required=False)
    headers = forms.CharField(
        label="Custom headers",
        required=False,
        max_length=WebhookEndpoint.MOST_HEADERS * 1200,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
    )
    remove_headers = forms.BooleanField(label="Remove the custom headers", required=False)

    def __init__(self, *arguments: Any, endpoint: WebhookEndpoint | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        help_text = "One in a line, like “X-Access: value”. Values are not shown again."
        if endpoint is not None:
            self.initial.update(url=endpoint.url, types=endpoint.types, description=endpoint.description)
        if endpoint is not None and endpoint.header_names:
            help_text += f" Leave it empty to keep: {', '.join(endpoint.header_names)}."
        else:
            del self.fields["remove_headers"]
        self.fields["headers"].help_text = help_text
        self._is_new = endpoint is None

    def clean_types(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["types"]
        return [EVERY_TYPE] if EVERY_TYPE in chosen else chosen

    def clean_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in self.cleaned_data["headers"].splitlines():
            if line.strip():
                name, colon, value = (part.strip() for part in line.partition(":"))
                if not colon:
                    raise forms.ValidationError("Write one header in a line: its name, a colon, and its value.")
                if name in headers:
                    raise forms.ValidationError("A header is named twice.")
                headers[name] = value
        return headers

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in {"url", "types", "headers"} & set(cleaned):
            try:
                endpoints.check({name: cleaned[name]})
            except endpoints.Invalid as invalid:
                self.add_error(name, str(invalid))
        return cleaned

    @property
    def values(self) -> dict[str, Any]:
        """What `endpoints.create` and `endpoints.change` take. The form has to be valid."""
        values = {name: self.cleaned_data[name] for name in ("url", "types", "description", "headers")}
        if not (self._is_new or values["headers"] or self.cleaned_data.get("remove_headers")):
            del values["headers"]
        return values


class DeliveryFilter(forms.Form):
    """Which deliveries of an endpoint are shown, from the address. before: those older than this row."""

    state = forms.ChoiceField(label="State", required=False, choices=[("", "All"), *OutgoingDelivery.State.choices])
    before = forms.IntegerField(required=False, min_value=1, max_value=2**62, widget=forms.HiddenInput)


class ResendForm(forms.Form):
    """Which deliveries are sent again."""

    since = forms.SplitDateTimeField(
        label="Since (your local time)",
        widget=forms.SplitDateTimeWidget(
            date_attrs={"type": "date", "aria-label": "Day"},
            time_attrs={"type": "time", "aria-label": "Time"},
            date_format="%Y-%m-%d",
            time_format="%H:%M",
        ),
        input_date_formats=["%Y-%m-%d"],
        error_messages={
            "invalid_date": "Enter a day.",
            "invalid_time": "Enter a time.",
            "required": "Enter a day and a time.",
        },
    )
    with_delivered = forms.BooleanField(label="Also those that have arrived", required=False)
