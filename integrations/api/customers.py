"""Customers: the operator's companies here, found by their code or by the operator's own ID."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from accounts import audit
from accounts.forms import company_name_field
from accounts.models import Customer
from integrations.api.access import ApiKeyBearer, Caller, caller_of
from integrations.api.paging import page
from integrations.api.problems import Problem
from integrations.api.values import After, Asked, Limit, Words
from integrations.models import Scope

router = Router(tags=["customers"], auth=ApiKeyBearer(Scope.CUSTOMERS))


class CustomerOut(Schema):
    code: str
    external_id: str | None
    name: str
    created_at: datetime

    @staticmethod
    def resolve_external_id(customer: Customer) -> str | None:
        return customer.external_id or None


class CustomerPage(Schema):
    items: list[CustomerOut]
    next: str | None


class NewCustomer(Asked):
    name: Words
    external_id: Words | None = Field(None, description="Your own ID for it. No two customers have the same.")


class CustomerChange(Asked):
    name: Words | None = None
    external_id: Words | None = Field(None, description="null takes it away.")


@router.get("", response=CustomerPage, url_name="customers")
def list_customers(
    request: HttpRequest, external_id: Words | None = None, after: After = "", limit: Limit = 50
) -> dict[str, object]:
    """Customers that the key reaches, oldest first."""
    rows = caller_of(request).customers
    if external_id:
        rows = rows.filter(external_id=external_id)
    items, following = page(rows, after=after, limit=limit)
    return {"items": items, "next": following}


@router.post("", response={201: CustomerOut}, url_name="customers")
def create_customer(request: HttpRequest, body: NewCustomer) -> Status[Customer]:
    """Makes a customer. Nobody belongs to it until somebody is invited here."""
    return Status(201, create(caller_of(request), name=body.name, external_id=body.external_id or ""))


@router.get("/{slug:code}", response=CustomerOut, url_name="customer")
def read_customer(request: HttpRequest, code: str) -> Customer:
    """One customer."""
    return caller_of(request).customer(code)


@router.patch("/{slug:code}", response=CustomerOut, url_name="customer")
def change_customer(request: HttpRequest, code: str, body: CustomerChange) -> Customer:
    """Changes the members that are sent, and no others."""
    caller = caller_of(request)
    customer = caller.customer(code)
    changes = body.model_dump(exclude_unset=True)
    if "name" in changes:
        changes["name"] = _name(changes["name"])
    if "external_id" in changes:
        changes["external_id"] = changes["external_id"] or ""
    with _unique(), transaction.atomic():
        Customer.objects.filter(pk=customer.pk).update(**changes)
        audit.record("customer.changed", customer=customer, actor=caller.actor, what=" ".join(sorted(changes)))
    return caller.customer(code)


def create(caller: Caller, *, name: str, external_id: str) -> Customer:
    """A new customer. Raises Problem: 403 for a key of one customer, 409 when the ID is taken, 422 for a bad name."""
    if caller.key.customer_id is not None:
        raise Problem("missing-scope", "This key is for one customer and makes no others.", scope=Scope.CUSTOMERS.value)
    with _unique(), transaction.atomic():
        customer = Customer.objects.create(name=_name(name), external_id=external_id)
        audit.record("customer.made", customer=customer, actor=caller.actor)
    return customer


class _unique:
    """Raises Problem (409) in place of the database's refusal of an ID that another customer has."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, IntegrityError):
            raise Problem(
                "conflict", "Another customer has this external_id. Find it by ?external_id=, or choose another one."
            ) from None


def _name(given: str | None) -> str:
    try:
        name: str = company_name_field().clean(given)
    except ValidationError as problem:
        raise Problem(
            "invalid", "Change the name.", errors=[{"field": "body.name", "detail": " ".join(problem.messages)}]
        ) from None
    return name
