from collections.abc import Callable, Iterator

import pytest

from integrations.snapinspect.client import Client
from integrations.snapinspect.exchange_call import ClientCredentials, Exchanged, exchange
from integrations.snapinspect.transport import Transport

from .remotes import ACCESS, REFRESH, SECRET, Authority, Remote


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def client_of(transport: Transport) -> Callable[..., Client]:
    """Makes a client of a test's remote."""

    def make(server: Remote, *, deadline: float = 30.0, token: str = ACCESS) -> Client:
        return Client(server.url, token=token, allow_loopback_http=True, deadline=deadline, over=transport)

    return make


@pytest.fixture
def exchange_at(transport: Transport) -> Callable[..., Exchanged]:
    """Exchanges tokens at a URL."""

    def run(url: str, *, deadline: float = 30.0) -> Exchanged:
        return exchange(
            url,
            credentials=ClientCredentials("our-app", SECRET),
            redirect_uri="https://app.example/connect/callback/",
            state="state-1",
            refresh_token=REFRESH,
            deadline=deadline,
            allow_loopback_http=True,
            over=transport,
        )

    return run
