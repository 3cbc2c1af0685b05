"""Who belongs to a customer: roles that count at once, an owner that always remains, and one's own account."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, LastOwner, Membership, Role, User
from tests.accounts.test_sign_up import buttons
from tests.support.clients import Visitor
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def membership(user: User, customer: Customer) -> Membership:
    return Membership.objects.select_related("user", "customer").get(user=user, customer=customer)


def change(browser: Visitor, member: Membership, what: str, **fields: str) -> str:
    """Does something to a member and returns the page that this leads to."""
    where = f"/c/{member.customer.code}/people/{member.pk}/{what}/"
    return browser.post(where, fields, follow=True).text


def roles(customer: Customer) -> dict[str, str]:
    return {member.user.email.partition("@")[0]: member.role for member in customer.memberships.select_related("user")}


def is_in(browser: Visitor, customer: Customer) -> bool:
    return bool(browser.get(f"/c/{customer.code}/").status_code == 200)


def audited(kind: str) -> AuditEntry:
    return AuditEntry.objects.get(kind=kind)


def test_everybody_sees_who_belongs_to_the_company_and_only_owners_see_what_changes_it(
    visit: Visit, alice: User, bob: User, victor: User, acme: Customer
) -> None:
    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={})
    Authenticator.objects.create(user=victor, type=Authenticator.Type.RECOVERY_CODES, data={})

    for_owner, for_viewer = (visit(user).get(f"/c/{acme.code}/people/").text for user in (alice, victor))

    for page in (for_owner, for_viewer):
        assert all(
            words in page for words in ("alice@", "bob@", "victor@", "Owner", "an view everything, but change nothing")
        )
        assert page.count("#shield-check") == 1, "recovery codes alone are no second factor"
        assert "data-badge" not in page
    assert "Send invitation" in buttons(for_owner)
    assert not {"Send invitation", "Withdraw"} & set(buttons(for_viewer))
    assert "Remove" in for_owner
    assert "Remove" not in for_viewer


def test_a_role_counts_from_the_next_click_on(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    owner, browser = visit(alice), visit(bob)
    invite = f"/c/{acme.code}/people/invite/"
    assert browser.post(invite).status_code == 403

    assert "bob@example.com is now Owner." in change(owner, membership(bob, acme), "role", role="owner")
    assert browser.post(invite).status_code == 200
    change(owner, membership(bob, acme), "role", role="viewer")
    assert browser.post(f"/c/{acme.code}/connect/").status_code == 403

    entry = AuditEntry.objects.filter(kind="member.role_changed").latest("pk")
    assert (entry.actor_name, entry.customer) == (alice.email, acme)
    assert entry.detail == {"person": bob.email, "before": "owner", "after": "viewer"}


def test_who_is_removed_is_a_stranger_from_the_next_click_on(
    visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(bob)
    member = membership(bob, acme)

    assert "Remove bob@example.com?" in visit(alice).get(f"/c/{acme.code}/people/{member.pk}/remove/").text
    assert "bob" in roles(acme), "a question removes nobody"
    change(visit(alice), member, "remove")

    assert browser.get(f"/c/{acme.code}/").status_code == 404
    assert audited("member.removed").detail == {"person": bob.email}


def test_leaving_on_ones_own(visit: Visit, bob: User, acme: Customer) -> None:
    browser = visit(bob)
    assert "Leave Acme Property?" in browser.get(f"/c/{acme.code}/people/leave/").text

    page = browser.post(f"/c/{acme.code}/people/leave/", follow=True).text

    assert "You left Acme Property." in page
    assert "bob" not in roles(acme)
    assert audited("member.left").actor_name == bob.email


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_the_last_owner_stays_owner(role: str, visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    sleeping = User.objects.create_user("gone@example.com", is_active=False)
    Membership.objects.create(user=sleeping, customer=acme, role=Role.OWNER)
    browser, me = visit(alice), membership(alice, acme)

    for page in (
        change(browser, me, "role", role=role),
        change(browser, me, "remove"),
        browser.post(f"/c/{acme.code}/people/leave/", follow=True).text,
    ):
        assert "A company needs an owner" in page
        assert roles(acme)["alice"] == "owner"
    assert not AuditEntry.objects.filter(kind__startswith="member.").exists(), "what was refused did not happen"


ROUNDS = size(10, 100)


def test_of_owners_who_step_down_at_the_same_moment_one_remains(
    alice: User, bob: User, victor: User, acme: Customer
) -> None:
    users = (alice, bob, victor)
    steps: list[Callable[[Membership], None]] = [
        Membership.end,
        lambda member: member.change_role(Role.VIEWER),
        lambda member: member.change_role(Role.MEMBER),
    ]
    refused = 0

    for _ in range(ROUNDS):
        Membership.objects.filter(customer=acme).delete()
        members = [Membership.objects.create(user=user, customer=acme, role=Role.OWNER) for user in users]
        together = Barrier(len(members))

        def step_down(member: Membership, how: Callable[[Membership], None], together: Barrier = together) -> int:
            together.wait()
            try:
                how(member)
            except LastOwner:
                return 1
            finally:
                database.close()
            return 0

        with ThreadPoolExecutor(len(members)) as pool:
            refused += sum(pool.map(step_down, members, steps))
        assert acme.memberships.owners().count() == 1

    record("People", f"{len(users)} owners step down at once, {ROUNDS} times", f"{refused} refused, 1 owner each time")
    assert refused == ROUNDS


@pytest.mark.parametrize("body", [{}, {"role": ""}, {"role": "emperor"}, {"role": ["x", "y"]}, {"role": "nul\0"}])
def test_a_role_that_does_not_exist_is_refused_in_words(
    body: dict[str, Any], visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    page = visit(alice).post(f"/c/{acme.code}/people/{membership(bob, acme).pk}/role/", body, follow=True)

    assert "Choose a role" in page.text
    assert roles(acme)["bob"] == "member"


def test_members_and_invitations_that_do_not_exist_are_not_found(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    for number in ("0", "999999", "9" * 40):
        for path in (f"{number}/role/", f"{number}/remove/", f"invitations/{number}/again/"):
            assert browser.post(f"/c/{acme.code}/people/{path}", {"role": "viewer"}).status_code == 404, path


def test_the_page_costs_the_same_however_many_people_belong_to_the_company(
    visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    browser.get(f"/c/{acme.code}/people/")
    counted = []
    for number in (1, 40):
        for each in range(number):
            user = User.objects.create_user(f"person{number}x{each}@example.com")
            Membership.objects.create(user=user, customer=acme, role=Role.VIEWER)
        with CaptureQueriesContext(database) as queries:
            browser.get(f"/c/{acme.code}/people/")
        counted.append(len(queries))
    assert counted[0] == counted[1]


# --- The company -----------------------------------------------------------------------------------------------------


def test_an_owner_renames_the_company_for_everybody(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    page = visit(alice).post(f"/c/{acme.code}/company/", {"company": " Acme \n Lettings "}, follow=True).text

    assert "Acme Lettings" in page
    assert "Acme Lettings" in visit(bob).get(f"/c/{acme.code}/").text
    assert audited("customer.renamed").detail == {"before": "Acme Property", "after": "Acme Lettings"}


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "nul\0byte"])
def test_a_name_that_cannot_be_is_refused_beside_its_field(
    name: str, visit: Visit, alice: User, acme: Customer
) -> None:
    page = visit(alice).post(f"/c/{acme.code}/company/", {"company": name})

    assert (page.status_code, "errorlist" in page.text) == (200, True)
    acme.refresh_from_db()
    assert acme.name == "Acme Property"


def test_somebody_starts_another_company_and_finds_both_in_the_header(
    visit: Visit, bob: User, acme: Customer, settings: Settings
) -> None:
    settings.SIGNUP_OPEN = True
    browser = visit(bob)
    assert "Add a company" in browser.get(f"/c/{acme.code}/").text

    browser.post("/accounts/companies/", {"company": "Bob's Own"})

    own = bob.customers.get(name="Bob's Own")
    assert membership(bob, own).role == Role.OWNER
    page = browser.get("/", follow=True).text
    assert all(f'href="/c/{customer.code}/"' in page for customer in (own, acme))


def test_where_sign_up_is_closed_nobody_starts_a_company(
    visit: Visit, bob: User, acme: Customer, settings: Settings
) -> None:
    settings.SIGNUP_OPEN = False
    browser = visit(bob)

    assert "Add a company" not in browser.get(f"/c/{acme.code}/").text
    assert browser.post("/accounts/companies/", {"company": "Bob's Own"}).status_code == 403
    assert bob.customers.count() == 1


def test_the_companies_one_person_may_start_in_a_day_are_limited(visit: Visit, bob: User, settings: Settings) -> None:
    settings.SIGNUP_OPEN = True
    browser = visit(bob)
    for number in range(10):
        browser.post("/accounts/companies/", {"company": f"Company {number}"})

    assert "10 companies today" in browser.post("/accounts/companies/", {"company": "One more"}).text
    assert bob.customers.count() == 11


def test_with_30_companies_the_header_lists_them_all_in_one_query(visit: Visit, bob: User, acme: Customer) -> None:
    browser = visit(bob)
    browser.get(f"/c/{acme.code}/")
    with CaptureQueriesContext(database) as before:
        browser.get(f"/c/{acme.code}/")
    companies = [Customer.objects.create_with_owner(f"Company {number}", owner=bob) for number in range(30)]
    with CaptureQueriesContext(database) as after:
        page = browser.get(f"/c/{acme.code}/").text

    assert all(f'href="/c/{company.code}/"' in page for company in companies)
    assert len(before) == len(after)
