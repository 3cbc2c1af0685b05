from django import forms

from integrations.snapinspect.pair import is_token

LONGEST_TOKEN = 4000


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
