"""Endpoints: what they may be, their secrets while one replaces the other, and their custom headers."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from integrations.models import WebhookEndpoint
from integrations.outgoing import endpoints
from integrations.outgoing.endpoints import Invalid
from integrations.tokens import encryption, key_rotation, keys
from integrations.tokens.encryption import CannotUnseal, EndpointKeyContext, parse_keys
from tests.outgoing.conftest import Made
from tests.settings import SENTINEL

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["bmV3ZXIga2V5IHRvIHNlYWwgd2l0aCwgMzIgYnl0ZXM=", "dGVzdHMgc2VhbCB0b2tlbnMgd2l0aCB0aGlzIGtleSE="]


def test_a_new_endpoint_is_on_and_its_secret_and_headers_are_sealed(make: Made) -> None:
    value = f"{SENTINEL}-header"
    endpoint, secret = make(headers={"X-Access": value, "Authorization": "Bearer b"}, types=["review.signed"])
    assert endpoint.state == WebhookEndpoint.State.ON and endpoint.types == ["review.signed"]
    endpoint.refresh_from_db()
    assert endpoints.signing_secrets(endpoint) == [secret]
    assert endpoints.custom_headers(endpoint) == {"X-Access": value, "Authorization": "Bearer b"}
    assert endpoint.header_names == ["Authorization", "X-Access"]
    stored = str(WebhookEndpoint.objects.values().get()) + str(list(AuditEntry.objects.values()))
    assert secret not in stored and value not in stored


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://hooks.example/"),
        ("url", "https://user:password@hooks.example/"),
        ("url", "https://hooks.example:25/"),
        ("url", "https://hooks.example/" + "x" * 2000),
        ("url", "hooks.example"),
        ("types", []),
        ("types", ["inspection.exploded"]),
        ("types", ["endpoint.test"]),
        ("headers", {f"X-{number}": "a" for number in range(11)}),
        ("headers", {"X-A": "a", "x-a": "b"}),
        ("headers", {"X A": "a"}),
        ("headers", {"": "a"}),
        ("headers", {"X-A": "a\r\nHost: internal"}),
        ("headers", {"X-A": "ä"}),
        ("headers", {"X-A": ""}),
        ("headers", {"X-A": "a" * 1001}),
        *(("headers", {name: "a"}) for name in ("Host", "content-length", "Transfer-Encoding", "Webhook-Id", "Cookie")),
    ],
)
def test_what_an_endpoint_cannot_have_is_refused_without_quoting_it(make: Made, field: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        make(**{field: value})
    assert caught.value.field == field and "user:" not in str(caught.value) + str(caught.value.__context__)
    endpoint, _ = make()
    with pytest.raises(Invalid):
        endpoints.change(endpoint, {field: value}, by=None)


def test_the_number_of_endpoints_is_limited(make: Made) -> None:
    for _ in range(endpoints.MOST_ENDPOINTS):
        make()
    with pytest.raises(Invalid):
        make()
    make(customer=None)


def test_two_secrets_sign_while_one_replaces_the_other(make: Made, alice: User) -> None:
    endpoint, first = make(headers={"X-A": "a"})
    second = endpoints.replace_secret(endpoint, by=alice)
    assert endpoints.signing_secrets(endpoint) == [second, first]
    third = endpoints.replace_secret(endpoint, by=alice)
    assert endpoints.signing_secrets(endpoint) == [third, second]
    WebhookEndpoint.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    endpoint.refresh_from_db()
    assert endpoints.signing_secrets(endpoint) == [third]
    assert endpoints.custom_headers(endpoint) == {"X-A": "a"}


def test_what_is_changed_changes_and_the_rest_stays(make: Made, alice: User) -> None:
    endpoint, secret = make(headers={"X-A": "a"})
    endpoints.change(endpoint, {"url": "https://new.example/hook", "types": ["*", "*"]}, by=alice)
    assert (endpoint.url, endpoint.types) == ("https://new.example/hook", ["*"])
    assert endpoints.custom_headers(endpoint) == {"X-A": "a"}
    endpoints.change(endpoint, {"headers": {"X-B": "b"}}, by=alice)
    assert (endpoints.custom_headers(endpoint), endpoint.header_names) == ({"X-B": "b"}, ["X-B"])
    assert endpoints.signing_secrets(endpoint) == [secret]
    assert AuditEntry.objects.filter(kind="webhook_endpoint.changed").count() == 2


def test_pausing_and_switching_on_each_happen_once(make: Made, acme: Customer, alice: User) -> None:
    endpoint, _ = make()
    assert endpoints.pause(endpoint, by=alice) and not endpoints.pause(endpoint, by=alice)
    assert endpoints.switch_on(endpoint, by=alice) and not endpoints.switch_on(endpoint, by=alice)
    WebhookEndpoint.objects.update(state="off", off_reason="gone", failing_since=timezone.now())
    assert not endpoints.pause(endpoint, by=alice)
    assert endpoints.switch_on(endpoint, by=alice)
    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.off_reason, endpoint.failing_since) == ("on", "", None)
    endpoints.delete(endpoint, by=alice)
    assert not WebhookEndpoint.objects.exists()
    assert AuditEntry.objects.filter(kind="webhook_endpoint.deleted", customer=acme).exists()


def test_a_sealed_value_opens_in_no_other_row_and_for_no_other_purpose(make: Made) -> None:
    one, _ = make(headers={"X-A": "a"})
    other, _ = make()
    other.sealed_secret = one.sealed_secret
    with pytest.raises(CannotUnseal):
        endpoints.signing_secrets(other)
    with pytest.raises(CannotUnseal):
        encryption.unseal(one.sealed_headers, EndpointKeyContext(one.code, "signing"))


def test_key_rotation_moves_secrets_and_headers(make: Made, alice: User, settings: Settings) -> None:
    endpoint, first = make(headers={"X-A": "a"})
    second = endpoints.replace_secret(endpoint, by=alice)
    settings.TOKEN_ENCRYPTION_KEYS = parse_keys(",".join(KEYS))
    assert key_rotation.outdated() == 1
    assert key_rotation.reseal().resealed == 1
    settings.TOKEN_ENCRYPTION_KEYS = parse_keys(KEYS[0])
    endpoint.refresh_from_db()
    assert endpoints.signing_secrets(endpoint) == [second, first]
    assert endpoints.custom_headers(endpoint) == {"X-A": "a"}


def test_a_lost_key_switches_off_until_there_is_a_new_secret(make: Made, alice: User, settings: Settings) -> None:
    endpoint, _ = make(headers={"X-A": "a"})
    lost = endpoint.key_id
    settings.TOKEN_ENCRYPTION_KEYS = parse_keys(KEYS[0])
    assert set(keys.missing()) == {lost}
    key_rotation.erase_sealed_by(lost)
    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.off_reason, endpoint.header_names) == ("off", "secret_lost", [])
    assert not endpoints.switch_on(endpoint, by=alice)
    secret = endpoints.replace_secret(endpoint, by=alice)
    assert endpoints.switch_on(endpoint, by=alice)
    assert endpoints.signing_secrets(endpoint) == [secret]
