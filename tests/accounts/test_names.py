"""Names of companies and connections are on one line, and somebody can see them."""

import pytest
from django.test import Client

from accounts.forms import CompanyForm
from accounts.models import Customer, User
from integrations.views.forms import NameForm
from tests.support.clients import Visitor

INVISIBLE = ["\u200b", "\u200b\u200d\u2060", "\ufeff", "\u00ad", "\u3164", "\u2800", "\u202e\u202c", "\u034f", "\u180e"]


@pytest.mark.parametrize("name", INVISIBLE)
def test_a_name_of_nothing_visible_is_refused(name: str) -> None:
    for form in (CompanyForm({"company": name}), NameForm({"name": name + "\u200b"})):
        assert not form.is_valid()


@pytest.mark.django_db
@pytest.mark.parametrize("name", INVISIBLE)
def test_nobody_signs_up_with_one(stranger: Client, name: str) -> None:
    stranger.post(
        "/accounts/signup/", {"email": "new@example.com", "company": name, "password1": "correct horse battery"}
    )
    assert (User.objects.count(), Customer.objects.count()) == (0, 0)


@pytest.mark.django_db
def test_staff_name_no_customer_so(acme: Customer) -> None:
    staff = Visitor()
    staff.force_login(User.objects.create_superuser("staff@example.com", "correct horse battery"))
    address = f"/admin/accounts/customer/{acme.pk}/change/"
    page = staff.post(address, {"name": "\u200b", "invite_owner": ""})
    acme.refresh_from_db()
    assert (page.status_code, acme.name) == (200, "Acme Property")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Harbour\r\nLettings", "Harbour Lettings"),
        ("\u202egnp.exe", "gnp.exe"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻 Lets", "👩\u200d💻 Lets"),
        ("東京", "東京"),
        ("—", "—"),
    ],
)
def test_visible_names_are_kept(typed: str, kept: str) -> None:
    form = CompanyForm({"company": typed})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["company"] == kept
