"""Staff may do what a named permission says, and nothing without one; nobody grants themselves more."""

from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.urls import reverse

from accounts.models import User
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
MODELS: list[type[Model]] = sorted(admin.site._registry, key=lambda model: str(model._meta.label))
STAFF_PAGES = {
    "/staff/operations/": "view_connection",
    "/staff/operations.json": "view_connection",
    "/staff/registration/": "view_webhookaddress",
    "/staff/webhooks/": "change_webhookendpoint",
}


@pytest.fixture
def sam(db: None) -> User:
    """Staff without any permission."""
    return User.objects.create_user("sam@example.com", "correct horse battery", is_staff=True)


def may(user: User, *codenames: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))


def test_staff_without_a_permission_see_nothing(visit: Visit, sam: User) -> None:
    visitor = visit(sam)
    for model in MODELS:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert visitor.get(reverse(f"{base}_changelist")).status_code == 403, model
        assert visitor.get(reverse(f"{base}_add")).status_code == 403, model
        assert visitor.get(reverse(f"{base}_change", args=[1])).status_code in {302, 403}, model
    for path in STAFF_PAGES:
        assert visitor.get(path).status_code == 403, path
    assert visitor.get("/staff/")["Location"] == "/admin/"
    assert visitor.get("/admin/").status_code == 200


@pytest.mark.parametrize("path", STAFF_PAGES)
def test_each_staff_page_has_its_permission(path: str, visit: Visit, sam: User) -> None:
    others = {permission for page, permission in STAFF_PAGES.items() if permission != STAFF_PAGES[path]}
    may(sam, *others)
    assert visit(sam).get(path).status_code == 403
    may(sam, STAFF_PAGES[path])
    assert visit(sam).get(path).status_code == 200


def test_staff_are_told_about_permissions_and_members_about_roles(visit: Visit, sam: User, victor: User) -> None:
    refused = visit(sam).get("/staff/operations/").content.decode()
    assert "Your permissions do not allow this" in refused
    assert "owner" not in refused
    acme = victor.memberships.get().customer
    assert "Your role does not allow this" in visit(victor).post(f"/c/{acme.code}/connect/").content.decode()


def test_nobody_but_a_superuser_changes_groups(visit: Visit, sam: User) -> None:
    may(sam, "add_group", "change_group", "delete_group", "view_group")
    sam.groups.add(group := Group.objects.create(name="Support"))
    everything = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    for path in (f"/admin/auth/group/{group.pk}/change/", "/admin/auth/group/add/"):
        assert visit(sam).post(path, {"name": "Support", "permissions": everything}).status_code == 403
    assert (group.permissions.count(), Group.objects.count()) == (0, 1)
    assert visit(sam).get("/admin/auth/group/").status_code == 200


def test_nobody_changes_the_addresses_of_others(visit: Visit, sam: User, alice: User) -> None:
    may(sam, "add_emailaddress", "change_emailaddress", "delete_emailaddress", "view_emailaddress")
    root = User.objects.create_superuser("root@example.com", "correct horse battery")
    row = EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    fields = {"user": str(root.pk), "email": "mine@example.com", "verified": "on", "primary": "on"}
    for user in (sam, root):
        for path in (f"/admin/account/emailaddress/{row.pk}/change/", "/admin/account/emailaddress/add/"):
            assert visit(user).post(path, fields).status_code == 403
    assert EmailAddress.objects.filter(user=alice).get().email == alice.email
    assert not EmailAddress.objects.filter(user=root, email="mine@example.com").exists()
    assert visit(sam).get("/admin/account/emailaddress/").status_code == 200


def test_staff_who_edit_people_grant_nothing_and_touch_no_staff(visit: Visit, sam: User, alice: User) -> None:
    may(sam, "change_user", "view_user")
    root = User.objects.create_superuser("root@example.com", "correct horse battery")
    assert visit(sam).post(f"/admin/accounts/user/{root.pk}/password/", {}).status_code == 403
    visit(sam).post(f"/admin/accounts/user/{alice.pk}/change/", {"is_superuser": "on", "is_staff": "on"})
    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_superuser) == (False, False)
