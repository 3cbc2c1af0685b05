"""No cache keeps an answer to a signed-in person, whoever made the page: ours, allauth's, or the admin's."""

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import Customer, User
from connectapp import environment
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "path",
    ["/", "/c/{code}/", "/c/{code}/events/", "/c/{code}/events.csv", "/accounts/email/", "/accounts/password/change/",
     "/accounts/2fa/", "/accounts/sessions/", "/admin/", "/nowhere/", "/c/nosuchcode/", "/accounts/notifications/",
     "/c/{code}/numbers.json", "/c/{code}/people/", "/c/{code}/audit.csv", "/c/{code}/explorer/", "/staff/operations/"],
)  # fmt: skip
def test_answers_to_a_signed_in_person_are_not_stored(
    visit: Callable[[User], Visitor], alice: User, acme: Customer, path: str
) -> None:
    answer = visit(alice).get(path.format(code=acme.code))
    assert {"no-store", "private"} <= set(answer["Cache-Control"].replace(",", "").split()), answer.status_code


def test_the_answer_that_signs_in_is_not_stored(stranger: Client, alice: User) -> None:
    answer = stranger.post("/accounts/login/", {"login": alice.email, "password": "correct horse battery"})
    assert answer.status_code == 302
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("host", ["login.co.nz", "co.nz", "connect.operator.example", "snapinspect.com.evil.example"])
def test_only_the_vendor_s_own_siblings_may_be_posted_to(host: str) -> None:
    origins = environment.form_origins(f"https://{host}/integration/SnapInspectConnect", [])
    assert [origin for origin in origins if "*" in origin] == []
    assert environment.form_origins("https://my.snapinspect.com/x", [])[1] == "https://*.snapinspect.com"
