"""Fixtures of the tests of accounts."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def no_earlier_attempts() -> Iterator[None]:
    """An empty cache: allauth counts sign-ups and sign-ins per address there, across tests."""
    cache.clear()
    yield
    cache.clear()
