"""Connect works under one host name, the redirect URI's: every other one leads there."""

from collections.abc import Callable

import pytest
from pytest_django import Settings

from accounts.models import Customer, User
from integrations import checks
from integrations.models import ConnectAttempt
from tests.support.clients import Sandbox, Visitor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.interface]
Visit = Callable[[User], Visitor]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "[::1]:8000"])
def test_connect_under_another_name_leads_to_the_registered_one_first(
    sandbox: Sandbox, alice: User, acme: Customer, host: str
) -> None:
    visitor = Visitor(HTTP_HOST=host)
    visitor.force_login(alice)
    answer = visitor.post(f"/c/{acme.code}/connect/")
    assert (answer.status_code, answer["Location"]) == (302, "http://localhost:8000/")
    assert not ConnectAttempt.objects.exists()


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "localhost:9999"])
def test_ports_share_the_session(sandbox: Sandbox, alice: User, acme: Customer, host: str) -> None:
    visitor = Visitor(HTTP_HOST=host)
    visitor.force_login(alice)
    assert visitor.post(f"/c/{acme.code}/connect/")["Location"].startswith(sandbox.url)


def test_a_password_changed_in_another_tab_ends_in_true_words(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    visitor = visit(alice)
    address = sandbox.decide(visitor.start_connect(acme))
    visitor.post(
        "/accounts/password/change/",
        {
            "oldpassword": "correct horse battery",
            "password1": "another horse battery",
            "password2": "another horse battery",
        },
    )
    page = visitor.get(visitor.open_callback(address)["Location"]).text
    assert "changed your password, start again" in page.replace("\n", " ")


def test_a_check_names_the_host_names_under_which_nobody_can_connect(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
    assert checks.connect_works_under_every_name(None) == []
    settings.ALLOWED_HOSTS = ["localhost", "old.example.com"]
    (warning,) = checks.connect_works_under_every_name(None)
    assert warning.id == "integrations.W002"
    assert "old.example.com" in warning.msg
