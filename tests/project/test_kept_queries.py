"""Queries and updates whose SQL is written once: they find and change what the queryset finds, for every ID."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now, Upper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.kept_queries import TEXT, WAIT, KeptQuery, KeptUpdate, written
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
        plain = list(user.memberships.select_related("customer"))
        with CaptureQueriesContext(database) as queries:
            found = query(user.pk)
            assert [(one.customer.name, one.customer.created_at) for one in found] == [
                (one.customer.name, one.customer.created_at) for one in plain
            ]
        assert len(queries) == 1
        assert found == plain
        assert [one.created_at for one in found] == [one.created_at for one in plain]
        assert [vars(one)["loud"] for one in found] == [one.role.upper() for one in plain]
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


def test_a_queryset_that_is_written_before_finds_what_is_there_when_it_is_evaluated(acme: Customer) -> None:
    first = Connection.objects.create(customer=acme, company_id="1")
    queryset = Connection.objects.filter(company_id__in=["1", "2"]).defer("metadata").order_by("pk")
    found, nothing = written(queryset), written(queryset.filter(pk__in=[]))
    second = Connection.objects.create(customer=acme, company_id="2")

    with CaptureQueriesContext(database) as queries:
        assert list(found) == [first, second]
        assert list(nothing) == []
    assert len(queries) == 1
    assert [one.get_deferred_fields() for one in found] == [{"metadata"}] * 2


def test_an_update_changes_the_rows_of_each_id_that_meet_its_conditions_and_counts_them(
    alice: User, acme: Customer, charlie: User
) -> None:
    mine, other = (
        Connection.objects.create(customer=customer, next_check_at=timezone.now(), failed_checks=failures)
        for customer, failures in ((acme, 1), (charlie.customers.get(), 2))
    )
    update = KeptUpdate(
        lambda customer: Connection.objects.filter(
            Exists(Membership.objects.filter(customer=OuterRef("customer"))),
            customer=customer,
            next_check_at__lte=Now(),
        ),
        next_check_at=Now() + WAIT,
        failed_checks=F("failed_checks") + 1,
        error_kind="",
    )
    assert [update(acme.pk, timedelta(hours=3)), update(acme.pk, timedelta(hours=3)), update(0, timedelta())] == [
        1,
        0,
        0,
    ]
    assert update(charlie.customers.get().pk, timedelta(days=2, microseconds=1)) == 1

    for row, failures, wait in ((mine, 2, timedelta(hours=3)), (other, 3, timedelta(days=2))):
        row.refresh_from_db()
        assert row.failed_checks == failures
        assert row.next_check_at is not None
        assert abs(row.next_check_at - timezone.now() - wait) < timedelta(minutes=1)


def test_an_update_takes_the_text_of_each_call(acme: Customer) -> None:
    row = Connection.objects.create(customer=acme, company_id="1")
    update = KeptUpdate(lambda pk: Connection.objects.filter(pk=pk, company_id=TEXT), account_name=TEXT)
    assert [update(row.pk, text="2"), update(row.pk, text="1")] == [0, 1]
    with pytest.raises(TypeError):
        update(row.pk)
    row.refresh_from_db()
    assert row.account_name == "1"


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
