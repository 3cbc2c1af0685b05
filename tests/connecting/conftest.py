"""Fixtures of the tests of connecting."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.utils import timezone

from integrations.connecting import oauth_state
from integrations.models import ConnectAttempt, GuestTokenPair


@pytest.fixture(autouse=True)
def no_sign_in_counted() -> None:
    """All tests come from one address, whose sign-ins are limited."""
    cache.clear()


@pytest.fixture
def no_guest_pair_left(transactional_db: None) -> Iterator[None]:
    """Every guest token pair is erased in the end."""
    yield
    left = GuestTokenPair.objects.exclude(sealed_refresh=b"")
    # A pair that came without a session is revoked when its state has expired.
    soon = timezone.now() + ConnectAttempt.LIFETIME + oauth_state.CLOCK_TOLERANCE
    assert left.exclude(to_revoke=True, next_try_at__lte=soon).count() == 0, "a guest's pair was left behind"
