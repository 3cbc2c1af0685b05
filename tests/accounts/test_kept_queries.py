"""Queries whose SQL is written once: they find what the queryset finds, for every ID."""

import pytest
from django.db import connection as database
from django.db.models import F
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext

from accounts.kept_queries import KeptQuery
from accounts.models import Customer, Membership, User
from integrations.models import Connection

pytestmark = pytest.mark.django_db


def test_each_id_finds_its_own_rows_with_all_that_the_queryset_selects(
    alice: User, bob: User, acme: Customer, charlie: User
) -> None:
    query = KeptQuery(
        lambda user: Membership.objects.select_related("customer").filter(user_id=user).annotate(loud=Upper("role"))
    )
    for user in (alice, bob, charlie, alice):
        written = list(user.memberships.select_related("customer"))
        with CaptureQueriesContext(database) as queries:
            found = query(user.pk)
            assert [(one.customer.name, one.customer.created_at) for one in found] == [
                (one.customer.name, one.customer.created_at) for one in written
            ]
        assert len(queries) == 1
        assert found == written
        assert [one.created_at for one in found] == [one.created_at for one in written]
        assert [vars(one)["loud"] for one in found] == [one.role.upper() for one in written]
    assert query(0) == []


def test_columns_that_are_left_out_are_read_when_they_are_asked_for_and_a_missing_relation_is_none(
    acme: Customer, alice: User
) -> None:
    Connection.objects.create(customer=acme, metadata={"a": "1"}, account_name="Pat")
    query = KeptQuery(
        lambda customer: (
            Connection.objects.filter(customer=customer)
            .select_related("connected_by")
            .defer("account_name")
            .annotate(whose=F("customer__name"))
        )
    )
    (found,) = query(acme.pk)
    assert (found.connected_by, found.metadata, vars(found)["whose"]) == (None, {"a": "1"}, acme.name)
    assert found.get_deferred_fields() == {"account_name"}
    assert found.account_name == "Pat"
    Connection.objects.update(connected_by=alice)
    assert query(acme.pk)[0].connected_by == alice


def test_a_user_asked_for_by_id_alone_is_found_by_kept_sql_and_only_among_those_of_the_manager(
    alice: User, charlie: User, acme: Customer
) -> None:
    with CaptureQueriesContext(database) as queries:
        assert User.objects.get(pk=alice.pk) == alice
    assert len(queries) == 1
    User.objects.filter(pk=alice.pk).update(first_name="Anew")
    assert User.objects.get(pk=alice.pk).first_name == "Anew"
    for nobody in (0, -1, charlie.pk + 1000):
        with pytest.raises(User.DoesNotExist):
            User.objects.get(pk=nobody)
    assert acme.members.get(pk=alice.pk) == alice
    with pytest.raises(User.DoesNotExist):
        acme.members.get(pk=charlie.pk)
    with pytest.raises(User.DoesNotExist):
        User.objects.get(pk=alice.pk, email=charlie.email)
