"""Downloads hold few threads: one for each person and each customer, and none that webhooks and health checks need."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from accounts.models import AuditEntry, Customer, User
from integrations.calls import limits
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]


@pytest.fixture(autouse=True)
def nothing_is_downloaded() -> Iterator[None]:
    Visitor.end_download()
    assert limits._downloads.in_use == 0
    yield
    Visitor.end_download()


@pytest.mark.parametrize("path", ["events.csv", "audit.csv", "everything.jsonl"])
def test_every_streamed_answer_is_refused_while_another_of_the_customer_runs(
    path: str, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(alice)
    ask = browser.post if path == "everything.jsonl" else browser.get
    first = limits.download(bob.pk, acme.pk)

    refused = ask(f"/c/{acme.code}/{path}")
    assert (refused.status_code, refused["Retry-After"]) == (429, "10")
    assert "Another download is under way" in refused.content.decode()
    assert not AuditEntry.objects.filter(kind__endswith=".exported").exists()
    assert browser.get(f"/c/{acme.code}/").status_code == 200
    assert browser.get("/health/live").status_code == 200

    first.release()
    answer = ask(f"/c/{acme.code}/{path}")
    assert answer.status_code == 200
    assert b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert limits._downloads.in_use == 0, "the slot is free when the download is through"


def test_a_reader_who_leaves_frees_the_slot(visit: Visit, alice: User, acme: Customer) -> None:
    response: Any = visit(alice).post(f"/c/{acme.code}/everything.jsonl")
    assert limits._downloads.in_use == 1
    next(iter(response.streaming_content))
    for close in response._resource_closers:
        close()
    assert limits._downloads.in_use == 0


def test_one_person_and_one_customer_have_one_download_each_and_a_process_few() -> None:
    under_way = []
    for number in range(limits.MAX_DOWNLOADS):
        under_way.append(limits.download(number, number))
        for person, customer in ((number, 99), (99, number)):
            with pytest.raises(limits.Busy):
                limits.download(person, customer)
    with pytest.raises(limits.Busy):
        limits.download(77, 77)
    for download in under_way:
        download.release()
    limits.download(77, 77).release()
    assert limits._downloads.in_use == 0


def test_threads_are_left_for_webhooks_and_health_checks() -> None:
    assert limits.MAX_CALLS + limits.MAX_DOWNLOADS < django_settings.WEB_THREADS


def test_no_other_answer_is_streamed() -> None:
    base = Path(django_settings.BASE_DIR)
    sources = [path for top in ("integrations", "accounts", "connectapp") for path in (base / top).rglob("*.py")]
    found = [path.name for path in sources if re.search(r"StreamingHttpResponse\(|FileResponse\(", path.read_text())]
    # The API's proxy streams, too: its calls have slots of their own.
    assert sorted(found) == ["downloads.py", "proxy.py"]
