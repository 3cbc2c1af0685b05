"""The exchange: every answer with two tokens counts, nothing else does, and it is sent once."""

import json
import socket
import traceback
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import pytest

from integrations.snapinspect.errors import (
    BadPath,
    Garbled,
    Refused,
    SnapInspectError,
    TokenRefused,
    Unreachable,
)
from integrations.snapinspect.exchange_call import Exchanged
from integrations.snapinspect.token_pair import TokenPair
from tests.support.measurements import record

from .remotes import NEW_ACCESS, NEW_REFRESH, REFRESH, SECRET, SECRETS, Authority, Call, Wire, http, remote

NEW = TokenPair(NEW_ACCESS, NEW_REFRESH)
GOOD = {
    "access_token": NEW_ACCESS,
    "token_type": "Bearer",
    "state": "state-1",
    "refresh_token": NEW_REFRESH,
}
TOKENS = f'"access_token": "{NEW_ACCESS}", "refresh_token": "{NEW_REFRESH}", "state": "state-1"'

SAVED = {
    "documented": http(GOOD),
    "empty expires_in": http({**GOOD, "expires_in": ""}),
    "extra fields": http({**GOOD, "scope": None, "user": {"a": [1, 2]}}),
    "other token type": http({**GOOD, "token_type": "mac"}),
    "no token type": http({key: value for key, value in GOOD.items() if key != "token_type"}),
    "NaN beside": http(f'{{{TOKENS}, "x": NaN, "y": [Infinity]}}'),
    "5,000 digits beside": http(f'{{{TOKENS}, "x": {"7" * 5000}}}'),
    "duplicate keys": http(f'{{"access_token": "older", {TOKENS}, "x": 1, "x": 2}}'),
    "wrong charset beside": http(f'{{{TOKENS}, "x": "Zoë"}}'.encode("latin-1")),
    "NUL and a raw newline beside": http(f'{{{TOKENS}, "x": "a\\u0000\nb"}}'),
    "byte order mark": http(b"\xef\xbb\xbf{" + TOKENS.encode() + b"}"),
    "text/html": http(GOOD, headers={"Content-Type": "text/html"}),
    "list": http([GOOD]),
    "nested": http({"success": True, "data": GOOD}),
    "camel case": http({"accessToken": NEW_ACCESS, "refreshToken": NEW_REFRESH, "state": "state-1"}),
    "type prefix": http({"sAccessToken": NEW_ACCESS, "sRefreshToken": NEW_REFRESH, "State": "state-1"}),
    "text in JSON": http({"d": json.dumps(GOOD)}),
    "encoded twice": http(json.dumps(json.dumps(GOOD))),
    "utf-16": http(json.dumps(GOOD).encode("utf-16")),
    "a form": http(urlencode(GOOD), headers={"Content-Type": "application/x-www-form-urlencoded"}),
    "blanks around": http({**GOOD, "access_token": f" {NEW_ACCESS}", "refresh_token": f"{NEW_REFRESH}\r\n"}),
    "an error beside": http({**GOOD, "error": "invalid_grant"}),
    "status 400": http(GOOD, status=400),
    "status 401": http(GOOD, status=401),
    "status 500": http(GOOD, status=500),
    "status 302": http(GOOD, status=302, headers={"Location": "http://127.0.0.1:9/"}),
    "cut after the object": http(GOOD).replace(b"Content-Length: ", b"Content-Length: 9"),
}

LOST: dict[str, tuple[bytes, type[SnapInspectError], str, int]] = {
    "HTML 200": (http("<html>Sign in</html>"), Garbled, "not_json", 200),
    "500": (http("<html>Oops</html>", status=500), Unreachable, "server_error", 500),
    "503": (http({"error": "x"}, status=503), Unreachable, "server_error", 503),
    "429": (http({}, status=429), Unreachable, "too_many_requests", 429),
    "empty": (http(""), Garbled, "not_json", 200),
    "204": (http("", status=204), Garbled, "not_json", 204),
    "cut JSON": (http(GOOD)[:-5].replace(b"Content-Length: 1", b"Content-Length: 0"), Garbled, "not_json", 200),
    "null access token": (http({**GOOD, "access_token": None}), Garbled, "wrong_shape", 200),
    "empty access token": (http({**GOOD, "access_token": ""}), Garbled, "wrong_shape", 200),
    "no refresh token": (http({"access_token": NEW_ACCESS}), Garbled, "wrong_shape", 200),
    "odd refresh token": (http({**GOOD, "refresh_token": "a\r\nb"}), Garbled, "wrong_shape", 200),
    "number for a token": (http({**GOOD, "refresh_token": 7}), Garbled, "wrong_shape", 200),
    "null in words": (http({**GOOD, "refresh_token": "null"}), Garbled, "wrong_shape", 200),
    "a token each in two objects": (
        http([{"access_token": NEW_ACCESS}, {"refresh_token": NEW_REFRESH}]),
        Garbled,
        "wrong_shape",
        200,
    ),
    "cut form": (http(f"access_token={NEW_ACCESS}&refresh_tok"), Garbled, "wrong_shape", 200),
    "refused in 200": (http({"error": "invalid_grant"}), Refused, "grant_refused", 200),
    "refused in an object": (http({"error": {"code": "invalid_grant"}}, status=400), Refused, "grant_refused", 400),
    "refused in a list": (http({"errors": [{"type": "Invalid_Client"}]}, status=400), Refused, "exchange_refused", 400),
    "refused in a form": (http("error=invalid_grant&error_description=no", status=400), Refused, "grant_refused", 400),
    "refused in camel case": (http({"code": "unauthorizedClient"}, status=401), Refused, "exchange_refused", 401),
    "10 MB": (http(b" " * 10_000_001), Garbled, "too_large", 200),
    "deep nesting": (http("[" * 100_000), Garbled, "not_json", 200),
    "400": (http({"error_description": f"bad {REFRESH}"}, status=400), Refused, "refused", 400),
    "401": (http({"error": f"bad {SECRET}"}, status=401), TokenRefused, "token_refused", 401),
    "403": (http("no", status=403), Refused, "forbidden", 403),
    "404": (http("no", status=404), Refused, "not_found", 404),
}


def assert_tells_nothing(error: BaseException) -> None:
    assert error.__cause__ is None and error.__context__ is None
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert not any(secret in told for secret in SECRETS)


def test_the_form_holds_exactly_the_six_documented_parameters(
    exchange_at: Callable[..., Exchanged],
) -> None:
    with remote(http(GOOD)) as server:
        assert exchange_at(server.url + "/integration/ExchangeToken") == Exchanged(NEW, True)
        (call,) = server.calls
    assert (call.method, call.target) == ("POST", "/integration/ExchangeToken")
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sorted(parse_qsl(call.body.decode(), strict_parsing=True)) == [
        ("client_id", "our-app"),
        ("client_secret", SECRET),
        ("redirect_uri", "https://app.example/connect/callback/"),
        ("refresh_token", REFRESH),
        ("response_type", "code"),
        ("state", "state-1"),
    ]
    assert not {"authorization", "cookie"} & call.headers.keys()


@pytest.mark.parametrize("name", SAVED)
def test_R6_every_answer_with_two_tokens_is_saved(name: str, exchange_at: Callable[..., Exchanged]) -> None:
    def answer(call: Call, wire: Wire) -> None:
        wire.send(SAVED[name])

    with remote(answer) as server:
        assert exchange_at(server.url) == Exchanged(NEW, True)
        assert len(server.calls) == 1


@pytest.mark.parametrize("state", ["other", "", None, 7])
def test_R6_a_wrong_state_is_told_but_costs_no_tokens(state: object, exchange_at: Callable[..., Exchanged]) -> None:
    with remote(http({**GOOD, "state": state})) as server:
        assert exchange_at(server.url) == Exchanged(NEW, False)


def test_R6_tokens_that_came_before_the_deadline_are_saved(exchange_at: Callable[..., Exchanged]) -> None:
    def never_ends(call: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n{" + TOKENS.encode() + b"}")
        wire.hang()

    with remote(never_ends) as server:
        assert exchange_at(server.url, deadline=3.0).pair == NEW


@pytest.mark.parametrize("name", LOST)
def test_R6_an_answer_without_two_tokens_gives_none_and_tells_nothing(
    name: str, exchange_at: Callable[..., Exchanged]
) -> None:
    answer, error, kind, status = LOST[name]
    with remote(answer) as server:
        with pytest.raises(error) as caught:
            exchange_at(server.url)
        assert len(server.calls) == 1, "an exchange is never retried"
    assert type(caught.value) is error and (caught.value.kind, caught.value.status) == (kind, status)
    assert getattr(caught.value, "sent", True)
    assert_tells_nothing(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_R7_a_redirect_is_not_followed_with_the_secret(status: int, exchange_at: Callable[..., Exchanged]) -> None:
    with remote(http(GOOD)) as elsewhere:
        with remote(http("", status=status, headers={"Location": elsewhere.url})) as server:
            with pytest.raises(Refused) as caught:
                exchange_at(server.url)
            assert len(server.calls) == 1
        record("R7", f"{status} to another host", f"{elsewhere.connections} connections to it")
        assert elsewhere.connections == 0
    assert caught.value.kind == "redirect"
    assert_tells_nothing(caught.value)


@pytest.mark.parametrize("fault", ["hangs up", "hangs", "is cut"])
def test_R2_a_lost_answer_counts_as_sent(fault: str, exchange_at: Callable[..., Exchanged]) -> None:
    def answer(call: Call, wire: Wire) -> None:
        if fault == "hangs":
            wire.hang()
        if fault == "is cut":
            wire.send(http(GOOD)[:-20])

    with remote(answer) as server:
        with pytest.raises(Unreachable) as caught:
            exchange_at(server.url, deadline=1.5 if fault == "hangs" else 30)
        assert len(server.calls) == 1
    assert caught.value.sent and caught.value.kind == ("timeout" if fault == "hangs" else "cut")
    assert_tells_nothing(caught.value)


def test_R2_what_never_connected_counts_as_not_sent(
    exchange_at: Callable[..., Exchanged], authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with remote(http(GOOD), tls=authority.server()) as untrusted:
        for url, kind in [(closed, "connect"), ("https://no-such-host.invalid/", "dns"), (untrusted.url, "tls")]:
            with pytest.raises(Unreachable) as caught:
                exchange_at(url)
            assert (caught.value.kind, caught.value.sent) == (kind, False)
            assert_tells_nothing(caught.value)
        assert untrusted.calls == []


def test_an_exchange_never_travels_on_a_kept_connection(exchange_at: Callable[..., Exchanged]) -> None:
    with remote(http(GOOD)) as server:
        for _ in range(3):
            exchange_at(server.url)
        assert server.connections == 3


@pytest.mark.parametrize("url", ["http://example.com/", "https://a@example.com/", "ftp://localhost/", ""])
def test_an_exchange_goes_only_to_a_secure_address(
    url: str, exchange_at: Callable[..., Exchanged], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with pytest.raises(BadPath) as caught:
        exchange_at(url)
    assert isinstance(caught.value, SnapInspectError)
    assert_tells_nothing(caught.value)
