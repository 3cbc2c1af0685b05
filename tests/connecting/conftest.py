"""Fixtures of the tests of connecting."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache

from integrations.models import GuestTokenPair


@pytest.fixture
def no_guest_pair_left(transactional_db: None) -> Iterator[None]:
    """Sign-ins are counted from none, and every guest token pair is erased in the end."""
    cache.clear()
    yield
    assert GuestTokenPair.objects.exclude(sealed_refresh=b"").count() == 0, "a guest's pair was left behind"
