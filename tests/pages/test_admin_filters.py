"""Lists of the admin answer junk in their address with a list, never with an error."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.urls import reverse

from accounts.models import User
from integrations.models import Event
from tests.support.clients import Visitor

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Django warns about dates without a time zone in addresses, and reads them.
    pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime"),
]

JUNK = ["\0", "9999", "-1", "2" * 30, "²", "9999-12-31"]


# All lists have the same base class: the one with the most filters stands for them in the quick suite.
MODELS = [
    pytest.param(model, id=model._meta.label, marks=() if model is Event else pytest.mark.slow)
    for model in sorted(admin.site._registry, key=lambda model: str(model._meta.label))
]


def junk_queries(options: admin.ModelAdmin[Any]) -> list[dict[str, str]]:
    names = ["q", "o", "p", "e", "all", "_facets", "pk", "id__exact", "nonsense__year"]
    if options.date_hierarchy:
        date = options.date_hierarchy
        names += [f"{date}__year", f"{date}__month", f"{date}__day", f"{date}__gte", f"{date}__lt"]
    for shown in options.list_filter:
        if isinstance(shown, str):
            names += [f"{shown}__exact", f"{shown}__gte", f"{shown}__isnull"]
        elif name := getattr(shown, "parameter_name", None):
            names.append(str(name))
    return [{name: value} for name in names for value in JUNK]


@pytest.mark.parametrize("model", MODELS)
def test_junk_in_a_lists_address_gives_a_list(visit: Callable[[User], Visitor], model: type[Model]) -> None:
    options = admin.site._registry[model]
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    visitor = visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))
    for query in junk_queries(options):
        answer = visitor.get(address, query, follow=True)
        assert answer.status_code == 200, query
