"""Where tokens may be sent, and paths that cannot lead them elsewhere."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import Request

from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import BadPath
from integrations.snapinspect.safe_urls import as_if_https, is_below, is_secure, join, relative_to

from .remotes import http, remote

BASE = "https://api.example/api_v3/"

TRICKS = [
    "//evil.example/user",
    "https://evil.example/user",
    "@evil.example/user",
    ".evil.example/user",
    "\\\\evil.example/user",
    "/\\evil.example",
    "user\\..\\x",
    "../user",
    "a/../../user",
    "./user",
    "a/./b",
    "%2e%2e/user",
    "%2E%2e%2fuser",
    "a%2f..%2fuser",
    "a%5c..%5cuser",
    "%252e%252e%252fuser",
    "user\r\nHost: evil.example",
    "user%0d%0aHost:%20evil.example",
    "user name",
    "üser",
    ":80@evil.example/",
    ":8080/user",
    "user:secret@evil.example",
    "%40evil.example",
    "user#fragment",
    "user\tx",
    "user\0",
    "a//b",
    "",
    "?a=1",
    "/",
    "javascript:alert(1)",
    "..;/user",
    "user%",
    "user%zz",
    "user?next=a b",
    "user?a=%0d%0a",
    "u" * 5000,
]


@pytest.mark.parametrize("path", TRICKS)
def test_A3_a_path_that_could_leave_the_base_is_refused(path: str) -> None:
    with pytest.raises(BadPath) as caught:
        join(BASE, path)
    assert path.strip("/?") == "" or path not in str(caught.value)


def test_A3_no_trick_makes_a_request_anywhere(client_of: Callable[..., Client]) -> None:
    with remote(http({})) as evil, remote(http({})) as home:
        tricks = [trick.replace("evil.example", f"127.0.0.1:{evil.port}") for trick in TRICKS if "evil" in trick]
        for trick in [*TRICKS, *tricks]:
            with pytest.raises(BadPath):
                client_of(home).get(trick)
        assert evil.connections == home.connections == 0


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.example", "user", "https://api.example/user"),
        ("https://api.example/", "/user", "https://api.example/user"),
        ("https://api.example/api_v3", "user/", "https://api.example/api_v3/user/"),
        (BASE, "inspections/12.5/x_y~z", BASE + "inspections/12.5/x_y~z"),
        (BASE, "i?since=2026-01-01T00:00:00+00:00&p=%2F", BASE + "i?since=2026-01-01T00:00:00+00:00&p=%2F"),
        (BASE, "caf%C3%A9", BASE + "caf%C3%A9"),
        ("http://[::1]:8001/", "user", "http://[::1]:8001/user"),
    ],
)
def test_a_path_is_joined_below_the_base_with_or_without_slashes(base: str, path: str, url: str) -> None:
    assert join(base, path) == url


@given(st.text(alphabet="./\\%:@?#abAB25eEfFcC0dD40 \r\n&;ü", max_size=20))
def test_A3_whatever_is_joined_stays_below_the_base_after_requests_prepared_it(path: str) -> None:
    try:
        url = join(BASE, path)
    except BadPath:
        return
    prepared = Request("GET", url).prepare().url or ""
    assert prepared.startswith(BASE) and is_below(BASE, prepared)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("https://api.example/api_v3/inspections?page=2", "inspections?page=2"),
        ("https://API.example:443/api_v3/a/b", "a/b"),
    ],
)
def test_A3_a_next_link_below_the_base_becomes_a_path(link: str, path: str) -> None:
    assert relative_to(BASE, link) == path


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/api_v3/a",
        "https://api.example.evil.example/api_v3/a",
        "https://api.example@evil.example/api_v3/a",
        "https://user@api.example/api_v3/a",
        "http://api.example/api_v3/a",
        "https://api.example:444/api_v3/a",
        "https://api.example/api_v30/a",
        "https://api.example/api_v3",
        "https://api.example/other",
        "https://api.example/api_v3/../other",
        "https://api.example/api_v3/%2e%2e/other",
        "https://api.example/api_v3//evil.example",
        "https://api.example\\@evil.example/api_v3/a",
        "https://api.example/api_v3/a#b",
        "//api.example/api_v3/a",
        "/api_v3/a",
        "",
        None,
        "https://[/api_v3/a",
        "https://api.example:x/api_v3/a",
    ],
)
def test_A3_a_next_link_that_leads_away_is_refused(link: str) -> None:
    with pytest.raises(BadPath):
        relative_to(BASE, link)


@pytest.mark.parametrize(
    "url", ["http://localhost:8001/", "http://127.0.0.1/", "http://127.9.8.7:1/x", "http://[::1]:8001/"]
)
def test_http_is_secure_enough_only_for_loopback_and_only_when_allowed(url: str) -> None:
    assert is_secure(url, allow_loopback_http=True)
    assert not is_secure(url, allow_loopback_http=False)
    assert is_secure("https" + url[4:], allow_loopback_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost@example.com/",
        "http://example.com\\@localhost/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "https://user:password@example.com/",
        "https:///path",
        "https://exa mple.com/",
        "https://example.com\n/",
        "https://example.com:port/",
        "ftp://localhost/",
        "//localhost/",
        "localhost",
        "",
    ],
)
def test_other_addresses_are_never_secure_enough(url: str) -> None:
    assert not is_secure(url, allow_loopback_http=True)
    with pytest.raises(BadPath):
        Client(url, token="token", allow_loopback_http=True)


@pytest.mark.parametrize("base", ["https://api.example/?a=1", "https://api.example/#a", "nonsense"])
def test_a_base_that_is_no_plain_address_is_refused(base: str) -> None:
    with pytest.raises(BadPath):
        join(base, "user")


def test_only_loopback_http_is_passed_off_as_https() -> None:
    seen: list[str] = []

    def build(url: str) -> str:
        seen.append(url)
        return url + "?built"

    assert as_if_https("http://127.0.0.1:1/a", build) == "http://127.0.0.1:1/a?built"
    assert as_if_https("http://api.example/a", build) == "http://api.example/a?built"
    assert as_if_https("https://api.example/a", build) == "https://api.example/a?built"
    assert seen == ["https://127.0.0.1:1/a", "http://api.example/a", "https://api.example/a"]
