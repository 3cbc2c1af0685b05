"""Changes of an account ask for the password again, are told to the old address, and stand in the audit trail."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from cryptography.fernet import InvalidToken
from django.core import mail
from django.core.cache import cache
from pytest_django import Settings

from accounts import second_factors
from accounts.models import AuditEntry, User
from integrations.tokens import encryption, key_rotation
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def no_limits() -> None:
    cache.clear()


def signed_in(user: User) -> Visitor:
    visitor = Visitor()
    visitor.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return visitor


def kinds() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("kind", flat=True))


def test_another_address_needs_the_password_again(visit: Visit, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    visitor = visit(alice)  # signed in long ago
    answer = visitor.post("/accounts/email/", {"action_add": "", "email": "new@example.com"})
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert not EmailAddress.objects.filter(email="new@example.com").exists()


def test_a_changed_address_is_told_to_the_old_one_and_written_down(alice: User) -> None:
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    EmailAddress.objects.create(user=alice, email="second@example.com", verified=True)
    visitor = signed_in(alice)
    visitor.post("/accounts/reauthenticate/", {"password": PASSWORD})
    visitor.post("/accounts/email/", {"action_primary": "", "email": "second@example.com"})
    alice.refresh_from_db()
    assert alice.email == "second@example.com"
    assert any("alice@example.com" in message.to for message in mail.outbox)
    entry = AuditEntry.objects.get(kind="account.email_changed")
    assert entry.detail == {"before": "alice@example.com", "after": "second@example.com"}
    visitor.post("/accounts/email/", {"action_remove": "", "email": "alice@example.com"})
    assert "account.email_removed" in kinds()


def test_a_changed_password_and_ended_sessions_are_written_down(alice: User) -> None:
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    signed_in(alice)
    visitor = signed_in(alice)
    visitor.post("/accounts/sessions/")
    new = {"oldpassword": PASSWORD, "password1": "another horse battery", "password2": "another horse battery"}
    visitor.post("/accounts/password/change/", new)
    assert {"account.sessions_ended", "account.password_changed"} <= set(kinds())
    assert any("password" in str(message.subject).lower() for message in mail.outbox)


def activate(user: User) -> Authenticator:
    return TOTP.activate(user, generate_totp_secret()).instance


def test_secrets_of_second_factors_are_sealed_at_rest(alice: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    codes = RecoveryCodes.activate(alice).get_unused_codes()
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    assert not any(code in stored for code in codes)
    row = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    assert get_adapter().decrypt(row.data["secret"]) == secret


def keys(*names: bytes) -> Any:
    return encryption.parse_keys(",".join(base64.b64encode(name * 32).decode() for name in names))


def test_a_key_rotation_seals_them_anew_and_those_stored_in_clear(settings: Settings, alice: User) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = keys(b"o")
    row = activate(alice)
    secret = get_adapter().decrypt(row.data["secret"])
    bob = User.objects.create_user("bob2@example.com", PASSWORD)
    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={"secret": "INCLEAR234"})

    settings.TOKEN_ENCRYPTION_KEYS = keys(b"n", b"o")
    old = settings.TOKEN_ENCRYPTION_KEYS[1].id
    report = key_rotation.reseal()
    assert (report.resealed, report.unused) == (2, [old])
    settings.TOKEN_ENCRYPTION_KEYS = keys(b"n")
    found = {row.user_id: get_adapter().decrypt(row.data["secret"]) for row in Authenticator.objects.all()}
    assert found == {alice.pk: secret, bob.pk: "INCLEAR234"}
    assert "INCLEAR234" not in str(list(Authenticator.objects.values_list("data", flat=True)))


def test_a_lost_key_is_no_empty_secret_and_is_reported(settings: Settings, alice: User) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = keys(b"o")
    row = activate(alice)
    lost = settings.TOKEN_ENCRYPTION_KEYS[0].id
    settings.TOKEN_ENCRYPTION_KEYS = keys(b"n")
    with pytest.raises(InvalidToken):
        get_adapter().decrypt(row.data["secret"])
    assert second_factors.reseal()[1] == {lost: 1}
    assert key_rotation.reseal().left[lost] == 1


@pytest.mark.parametrize("number", ["0", "zzzz", "zzzzzzzzzzzzz"])
def test_a_reset_link_with_a_number_that_nobody_has_is_no_link(number: str, alice: User) -> None:
    page = Visitor().get(f"/accounts/password/reset/key/{number}-made-up/")
    assert page.status_code == 200 and "no longer works" in page.text
