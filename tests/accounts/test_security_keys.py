"""Security keys: what an authenticator answers is believed, anything else is told as a key that did not work."""

import base64
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.core.cache import cache
from django.core.exceptions import ValidationError
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import sha256
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from accounts.models import User
from accounts.security_keys import DID_NOT_WORK, CredentialField
from tests.support.clients import Visitor
from tests.support.finalizers import lost_in

pytestmark = pytest.mark.django_db(transaction=True)

ADD, CONFIRM, SIGN_IN = (
    "/accounts/2fa/webauthn/add/",
    "/accounts/2fa/webauthn/reauthenticate/",
    "/accounts/2fa/authenticate/",
)
PASSWORD = "correct horse battery"
Members = dict[str, Any]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A security key, and the browser that asks it. A test may change what they answer."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        public = ES256.from_cryptography_key(self._private.public_key())  # type: ignore[no-untyped-call]
        self.id = b"made-up-key"
        self.attested = AttestedCredentialData.create(b"\0" * 16, self.id, public)

    def made(self, challenge: str) -> Members:
        data = AuthenticatorData.create(sha256(b"localhost"), AuthenticatorData.FLAG(0x41), 0, self.attested)
        return self._answer(
            "webauthn.create",
            challenge,
            attestationObject=AttestationObject.create("none", data, {}),
            transports=["usb"],
        )

    def signed(self, challenge: str) -> Members:
        data = AuthenticatorData.create(sha256(b"localhost"), AuthenticatorData.FLAG(0x01), 1)
        answer = self._answer("webauthn.get", challenge, authenticatorData=data)
        asked = sha256(base64.urlsafe_b64decode(answer["response"]["clientDataJSON"] + "=="))
        answer["response"] |= {
            "signature": encoded(self._private.sign(data + asked, ec.ECDSA(SHA256()))),
            "userHandle": None,
        }
        return answer

    def _answer(self, kind: str, challenge: str, **response: Any) -> Members:
        response["clientDataJSON"] = CollectedClientData.create(kind, challenge, "https://localhost")
        return {
            "type": "public-key",
            "id": encoded(self.id),
            "rawId": encoded(self.id),
            "authenticatorAttachment": "cross-platform",
            "response": {name: encoded(one) if isinstance(one, bytes) else one for name, one in response.items()},
            "clientExtensionResults": {"credProps": {"rk": False}},
        }


def challenge(browser: Visitor, page: str) -> str:
    """What the page wants signed."""
    assert browser.get(page).status_code == 200
    found: str = browser.session["mfa.webauthn.state"]["challenge"]
    return found


def send(browser: Visitor, page: str, credential: Any) -> Any:
    browser.raise_request_exception = False
    cache.clear()  # as if a minute had passed: attempts are limited
    text = credential if isinstance(credential, str) else json.dumps(credential)
    return browser.post(page, {"credential": text, "name": "Laptop"}, follow=True)


@pytest.fixture
def adding(visit: Callable[[User], Visitor], alice: User) -> Visitor:
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    browser = visit(alice)
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return browser


@pytest.fixture
def key(adding: Visitor) -> Key:
    """Alice's."""
    key = Key()
    send(adding, ADD, key.made(challenge(adding, ADD)))
    assert Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN).count() == 1
    return key


@pytest.fixture
def signing_in(key: Key, alice: User) -> Visitor:
    browser = Visitor()
    browser.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert not browser.get("/accounts/profile/").wsgi_request.user.is_authenticated
    return browser


def test_a_key_is_added_confirms_and_signs_in(adding: Visitor, key: Key, signing_in: Visitor, alice: User) -> None:
    (stored,) = Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN)
    assert stored.data["name"] == "Laptop" and stored.wrap().is_passwordless is False
    assert DID_NOT_WORK not in send(adding, CONFIRM, key.signed(challenge(adding, CONFIRM))).text
    assert send(signing_in, SIGN_IN, key.signed(challenge(signing_in, SIGN_IN))).wsgi_request.user == alice
    assert "Laptop" in adding.get("/accounts/2fa/webauthn/").text


def test_nothing_is_kept_of_a_credential_but_what_is_used(adding: Visitor) -> None:
    made = Key().made(challenge(adding, ADD))
    made["response"] |= {"transports": ["\ud800"], "\0": [[[]]]}
    send(adding, ADD, made | {"clientExtensionResults": {"credProps": {"rk": "\0"}, "other": "\ud800"}, "more": "\0"})
    kept = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).data["credential"]
    assert kept["clientExtensionResults"] == {"credProps": {"rk": False}}
    assert kept["response"].keys() == {"clientDataJSON", "attestationObject"}
    assert kept.keys() == {"id", "rawId", "type", "response", "clientExtensionResults"}


def test_another_key_did_not_work(adding: Visitor, key: Key, signing_in: Visitor) -> None:
    for browser, page in ((adding, CONFIRM), (signing_in, SIGN_IN)):
        assert DID_NOT_WORK in send(browser, page, Key().signed(challenge(browser, page))).text
        wrong = key.signed(challenge(browser, page))
        wrong["response"]["signature"] = encoded(b"made-up")
        assert DID_NOT_WORK in send(browser, page, wrong).text


def client_data(**changes: Any) -> bytes:
    return json.dumps({"type": "webauthn.get", "challenge": "AAAA", "origin": "https://localhost", **changes}).encode()


def auth_data(flags: int, rest: bytes = b"") -> bytes:
    return sha256(b"localhost") + bytes([flags]) + b"\0" * 4 + rest


def attested(public_key: bytes) -> bytes:
    return b"\0" * 16 + b"\0\x02id" + public_key


def attestation(data: Any) -> bytes:
    return cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})


DEEP_CBOR = b"\x81" * 20_000
# Odd texts, for all pages.
TEXTS = {
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "deep in a text": json.dumps({"id": "[" * 100_000}),
    "no JSON": "{",
    "null": "null",
    "a list": "[]",
    "a number": "7",
    "a text": '"rawId response"',
    "an id that is a number": '{"id": 7}',
    "half a pair": '{"a": "\\ud800"}',
    "half a pair for an id": '{"id": "\\ud800", "rawId": "\\ud800", "response": {}}',
    "NUL": '{"id": "\\u0000"}',
    "many digits": '{"id": ' + "7" * 10_000 + "}",
    "NaN": '{"id": NaN}',
    "long": json.dumps({"id": "A" * 1_000_000, "rawId": "A" * 1_000_000}),
}
# What stands in place of one member of what a key has answered, for the pages that have such a member.
MEMBERS: dict[str, tuple[str, Any]] = {
    "no id": ("id", ...),
    "no rawId": ("rawId", ...),
    "another id": ("id", "QUJD"),
    "no base64": ("rawId", "A"),
    "not ASCII": ("rawId", "é"),
    "a number of bytes": ("rawId", 10**6),
    "a list of bytes": ("rawId", [1, 2]),
    "null for an id": ("rawId", None),
    "a response that is a text": ("response", "clientDataJSON attestationObject authenticatorData"),
    "a response that is a list": ("response", ["clientDataJSON"]),
    "no response": ("response", ...),
    "no data of the client": ("clientDataJSON", ...),
    "data of the client that is no JSON": ("clientDataJSON", b"{"),
    "data of the client that is no text": ("clientDataJSON", b"\xff"),
    "data of the client that is a list": ("clientDataJSON", b"[]"),
    "data of the client that is deep": ("clientDataJSON", b"[" * 10_000),
    "data of the client without a challenge": ("clientDataJSON", b'{"type": "webauthn.get"}'),
    "a challenge that is a number": ("clientDataJSON", client_data(challenge=10**6)),
    "an origin that is a number": ("clientDataJSON", client_data(origin=7)),
    "an origin that is no address": ("clientDataJSON", client_data(origin="https://[")),
    "a type that is a list": ("clientDataJSON", client_data(type=[])),
    "an attestation that is no CBOR": ("attestationObject", b"\xff"),
    "no attestation": ("attestationObject", ...),
    "an empty attestation": ("attestationObject", b""),
    "an attestation that is a number": ("attestationObject", b"\x07"),
    "an attestation that is deep": ("attestationObject", DEEP_CBOR[:10_000]),
    "an attestation that is deeper than allowed for a text": ("attestationObject", DEEP_CBOR),
    "deep keys": ("attestationObject", b"\xa1" * 10_000),
    "deep values": ("attestationObject", b"\xa1\x00" * 5_000),
    "deep behind text": ("attestationObject", b"\x82\x78\x03abc" + DEEP_CBOR[:5000]),
    "deep behind a float": ("attestationObject", b"\x82\xfb" + DEEP_CBOR[:5000]),
    "deep in a tag": ("attestationObject", b"\xc1" * 5000),
    "a long list": ("attestationObject", b"\x9b" + b"\xff" * 8),
    "more behind it": ("attestationObject", cbor.encode({"fmt": "none"}) + b"\0"),
    "no format": ("attestationObject", cbor.encode({"attStmt": {}, "authData": auth_data(1)})),
    "a list for a key": ("attestationObject", b"\xa1\x80\x80"),
    "text that is no UTF-8": ("attestationObject", b"\xa1\x61\xff\x00"),
    "data that is too short": ("attestationObject", attestation(b"a")),
    "a number of data": ("attestationObject", attestation(10**6)),
    "no key in it": ("attestationObject", attestation(auth_data(1))),
    **{
        name: ("attestationObject", attestation(data))
        for name, data in {
            "half a key": auth_data(0x41, b"\0" * 17),
            "a key that is no CBOR": auth_data(0x41, attested(b"\xff")),
            "a key that is a list": auth_data(0x41, attested(b"\x80")),
            "a key that is deep": auth_data(0x41, attested(DEEP_CBOR[:10_000])),
            "a key without an algorithm": auth_data(0x41, attested(b"\xa0")),
            "extensions that are deep": auth_data(0x81, DEEP_CBOR[:10_000]),
            "extensions that are deep behind a key": auth_data(
                0xC1, attested(cbor.encode({3: -7})) + DEEP_CBOR[:10_000]
            ),
        }.items()
    },
    "no data": ("authenticatorData", ...),
    "short data": ("authenticatorData", b"a"),
    "extensions of a signature that are deep": ("authenticatorData", auth_data(0x81, DEEP_CBOR[:10_000])),
    "a key in the data that is deep": ("authenticatorData", auth_data(0x41, attested(DEEP_CBOR[:10_000]))),
    "no signature": ("signature", ...),
    "a number for a signature": ("signature", 10**6),
}


def changed(credential: Members, name: str, value: Any) -> Members | None:
    place = credential if name in credential else credential["response"]
    if name not in place:
        return None
    if value is ...:
        del place[name]
    else:
        place[name] = encoded(value) if isinstance(value, bytes) else value
    return credential


def oddities(answer: Callable[[], Members]) -> Iterator[tuple[str, Any]]:
    yield from TEXTS.items()
    for kind, (name, value) in MEMBERS.items():
        if (odd := changed(answer(), name, value)) is not None:
            yield kind, odd


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        *(
            json.dumps(changed(Key().made("AAAA"), name, value))
            for name, value in [
                ("clientDataJSON", b"[" * 10_000),
                ("attestationObject", b"\x81" * 10_000),
                ("attestationObject", attestation(auth_data(0x41, attested(b"\x81" * 5_000)))),
                ("attestationObject", attestation(auth_data(0x81, b"\xa1\x00" * 5_000))),
            ]
        ),
    ],
    ids=["JSON", "data of the client", "attestation", "key", "extensions"],
)
def test_finalizers_run_while_deep_credentials_are_refused(text: str) -> None:
    def refused() -> None:
        with pytest.raises(ValidationError, match=DID_NOT_WORK):
            CredentialField().clean(text)

    assert lost_in(refused) == []


def test_a_number_does_not_become_as_many_bytes(adding: Visitor) -> None:
    for name, value in {
        "rawId": 10**8,
        "clientDataJSON": client_data(challenge=10**8),
        "attestationObject": attestation(10**8),
    }.items():
        odd = changed(Key().made(challenge(adding, ADD)), name, value)
        tracemalloc.start()
        try:
            assert DID_NOT_WORK in send(adding, ADD, odd).text
            assert tracemalloc.get_traced_memory()[1] < 10**7
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("public_key", [{3: -7}, {3: -7, -1: 1, -2: 7, -3: []}, {3: 12345}])
def test_a_key_that_verifies_nothing_lets_nobody_in(
    public_key: dict[int, Any], adding: Visitor, key: Key, signing_in: Visitor
) -> None:
    broken = Key()
    broken.id = b"id"
    odd = changed(
        broken.made(challenge(adding, ADD)),
        "attestationObject",
        attestation(auth_data(0x41, attested(cbor.encode(public_key)))),
    )
    send(adding, ADD, odd)
    assert Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN).count() == 2
    for browser, page in ((adding, CONFIRM), (signing_in, SIGN_IN)):
        answer = send(browser, page, broken.signed(challenge(browser, page)))
        assert answer.status_code == 200 and DID_NOT_WORK in answer.text


def test_an_odd_key_is_not_added(adding: Visitor) -> None:
    answers = {}
    for kind, odd in oddities(lambda: Key().made(challenge(adding, ADD))):
        answer = send(adding, ADD, odd)
        answers[kind] = (answer.status_code, DID_NOT_WORK in answer.text)
    assert len(answers) > 50
    assert {kind: found for kind, found in answers.items() if found != (200, True)} == {}
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("page", [CONFIRM, SIGN_IN])
def test_an_odd_signature_is_a_wrong_code(page: str, adding: Visitor, key: Key, signing_in: Visitor) -> None:
    browser = adding if page == CONFIRM else signing_in
    answers = {}
    for kind, odd in oddities(lambda: key.signed(challenge(browser, page))):
        answer = send(browser, page, odd)
        answers[kind] = (answer.status_code, DID_NOT_WORK in answer.text)
    assert len(answers) > 30
    assert {kind: found for kind, found in answers.items() if found != (200, True)} == {}
    assert not signing_in.get("/accounts/profile/").wsgi_request.user.is_authenticated
