"""Row M2: every call carries the token of its own connection, under any load."""

import hashlib
import random
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection as database
from django.utils import timezone

from accounts.models import Customer, User
from integrations.models import ConnectAttempt, Connection, State
from integrations.snapinspect import token_pair
from integrations.tokens import custody
from tests.support.clients import Sandbox, work

pytestmark = pytest.mark.django_db(transaction=True)


CUSTOMERS, THREADS, CALLS = 50, 32, 1_000


@pytest.mark.slow
def test_M2_every_call_carries_the_token_of_its_own_connection(sandbox: Sandbox, alice: User) -> None:
    company_of = {}
    for number in range(CUSTOMERS):
        customer = Customer.objects.create_with_owner(f"Customer {number}", owner=alice)
        account = sandbox.control("POST", "accounts", {"company": 8000 + number})["account"]
        granted = sandbox.grant(account)
        attempt = ConnectAttempt.objects.create(
            state_hash=secrets.token_hex(32), user=alice, customer=customer, issued_at=timezone.now()
        )
        received = custody.receive(attempt, token_pair.TokenPair(granted["access_token"], granted["refresh_token"]))
        company_of[received.pk] = str(8000 + number)
    # One turn of a worker ends after DRAIN_SECONDS, whatever is left.
    give_up_at = time.monotonic() + 300
    while Connection.objects.filter(state=State.CONNECTED).count() < CUSTOMERS and time.monotonic() < give_up_at:
        work()
    assert Connection.objects.filter(state=State.CONNECTED).count() == CUSTOMERS
    fingerprint_of = {
        str(token["company"]): hashlib.sha256(token["token"].encode()).hexdigest()[:6]
        for token in sandbox.tokens()
        if token["live"] and token["kind"] == "access"
    }
    assert len(set(fingerprint_of.values())) == CUSTOMERS
    sandbox.control("DELETE", "log")

    def call(pks: list[int]) -> list[tuple[int, str | None]]:
        try:
            return [(pk, custody.client_for(Connection.objects.get(pk=pk)).user().company_id) for pk in pks]
        finally:
            database.close()

    drawn = random.choices(sorted(company_of), k=CALLS)
    with ThreadPoolExecutor(THREADS) as pool:
        answered = [answer for some in pool.map(call, (drawn[n::THREADS] for n in range(THREADS))) for answer in some]

    assert len(answered) == CALLS
    assert [(pk, company) for pk, company in answered if company != company_of[pk]] == []
    seen = Counter((str(entry["company"]), entry["token"]) for entry in sandbox.calls("/user"))
    assert seen == Counter((company_of[pk], fingerprint_of[company_of[pk]]) for pk in drawn)
