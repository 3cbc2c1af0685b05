"""Forms for security keys and passkeys: a malformed credential shows the same error as a key that did not work.

fido2 allocates as many bytes as a length field claims, and recurses without a limit. So a credential is checked first,
and reduced to the members that are used (https://www.w3.org/TR/webauthn-3/#dictdef-registrationresponsejson).
"""

import json
import logging
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.mfa.webauthn import forms as allauth_forms
from cryptography.exceptions import UnsupportedAlgorithm
from django import forms
from fido2 import cbor
from fido2.utils import websafe_decode
from fido2.webauthn import AuthenticatorData

logger = logging.getLogger(__name__)

DID_NOT_WORK = "This key did not work. Try again."
# Of a credential as JSON: a certificate of the key's maker is a few thousand.
MOST_CHARACTERS = 16 * 1024
# There are five; an address of a host (IPv6) and what browsers add may hold some.
_MOST_BRACKETS = 50
_MOST_LEVELS = 8  # of CBOR. An attestation has three.
_TEXT = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_IN_RESPONSE = ("clientDataJSON", "attestationObject", "authenticatorData", "signature")
# What allauth, fido2 and cryptography raise for a credential of another shape than theirs.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
    struct.error,
)


@contextmanager
def _readable(*, is_told: bool) -> Iterator[None]:
    """Within it, a credential that cannot be read is told as a key that did not work. is_told: in the log, too."""
    try:
        yield
        return
    except forms.ValidationError as problem:
        # allauth says so in words for codes. Too many attempts are told as they are.
        if problem.code != "incorrect_code":
            raise
    except _UNREADABLE:
        if is_told:
            # It has the right shape: the mistake may be one of ours, or of a new version of a library.
            logger.warning("The answer of a security key could not be used.", exc_info=True)
    raise forms.ValidationError(DID_NOT_WORK, code="incorrect_code")


class CredentialField(forms.JSONField):
    """What a security key has answered. It is not shown again: the next answer is another one."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        with _readable(is_told=False):
            return _credential(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial


class AddForm(allauth_forms.AddWebAuthnForm):
    """A new key."""

    credential = CredentialField()

    def clean(self) -> Any:
        with _readable(is_told=True):
            return super().clean()


class AuthenticateForm(allauth_forms.AuthenticateWebAuthnForm):
    """The second step of a sign-in."""

    credential = CredentialField()

    def clean_credential(self) -> Any:
        with _readable(is_told=True):
            return super().clean_credential()


class ReauthenticateForm(AuthenticateForm, allauth_forms.ReauthenticateWebAuthnForm):
    """The same person again, before something is changed."""


def _credential(text: str) -> dict[str, Any]:
    """The members that are used. Raises one of _UNREADABLE."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError
    sent = _parsed(text)
    response = {name: sent["response"][name] for name in _IN_RESPONSE if name in sent["response"]}
    credential = {"id": sent["id"], "rawId": sent["rawId"]}
    if not all(_TEXT.fullmatch(one) for one in [*credential.values(), *response.values()]):
        raise ValueError
    client_data = _parsed(websafe_decode(response["clientDataJSON"]).decode())
    if not all(isinstance(client_data[name], str) for name in ("type", "challenge", "origin")):
        raise ValueError
    if "attestationObject" in response:
        attestation = websafe_decode(response["attestationObject"])
        _end_of(attestation, 0)
        members: Any = cbor.decode(attestation)
        _check_data(members["authData"])
    if "authenticatorData" in response:
        _check_data(websafe_decode(response["authenticatorData"]))
    is_resident = sent.get("clientExtensionResults", {}).get("credProps", {}).get("rk") is True
    extensions = {"credProps": {"rk": is_resident}}
    return {**credential, "type": "public-key", "response": response, "clientExtensionResults": extensions}


def _parsed(text: str) -> Any:
    # No string in it has reason to hold many brackets: so they need not be told apart.
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise ValueError
    return json.loads(text)


def _check_data(data: Any) -> None:
    """Raises one of _UNREADABLE for an authenticator's data (WebAuthn section 6.1) with deep CBOR in it."""
    if not isinstance(data, bytes):
        raise TypeError
    flags, end = data[32], 37
    if flags & AuthenticatorData.FLAG.AT:
        end = _end_of(data, 55 + int.from_bytes(data[53:55]))  # behind the ID, whose length stands before it
    if flags & AuthenticatorData.FLAG.ED:
        _end_of(data, end)


def _end_of(data: bytes, start: int, levels: int = _MOST_LEVELS) -> int:
    """Where the CBOR (RFC 8949) at this place ends, as fido2 reads it. Raises one of _UNREADABLE if it is deep."""
    kind, number = divmod(data[start], 32)
    start += 1
    if kind == 7:
        return start
    if kind == 6 or number > 27:
        raise ValueError
    if number > 23:
        size = 1 << number - 24
        number, start = int.from_bytes(data[start : start + size]), start + size
    if kind in {2, 3}:
        return start + number
    if kind in {4, 5}:
        if not levels:
            raise ValueError
        for _ in range(number * (kind - 3)):
            start = _end_of(data, start, levels - 1)
    return start
