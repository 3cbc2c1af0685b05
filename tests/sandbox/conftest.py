"""One stand-in for all these tests, in its first state for each. No database, and nothing of the app."""

from collections.abc import Iterator

import pytest

from integrations import sandbox

from .remote import PREFIX, REGISTERED, Remote


@pytest.fixture(scope="package")
def running() -> Iterator[Remote]:
    with sandbox.serve(**REGISTERED, token_prefix=PREFIX) as server:
        remote = Remote(server.url)
        with remote.http:
            yield remote


@pytest.fixture
def remote(running: Remote) -> Remote:
    running.control("POST", "reset")
    running.control("POST", "mode", mode="strict")
    running.control("DELETE", "log")
    return running
