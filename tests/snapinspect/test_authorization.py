"""The way to SnapInspect's consent page and back."""

from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.snapinspect.authorization import authorization_url, read_response
from integrations.snapinspect.errors import BadPath
from integrations.snapinspect.token_pair import LONGEST_TOKEN, TokenPair

from .remotes import ACCESS, REFRESH

CONNECT = "https://my.snapinspect.example/integration/SnapInspectConnect"
GOOD = f"access_token={quote(ACCESS)}&token_type=Bearer&state=s1&refresh_token={quote(REFRESH)}"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://app.example/connect/callback/",
        "https://app.example/callback?a=b&c=d%2Fe+f",
        "https://app.example/%7Euser/ü?x=%E9",
        "http://localhost:8000/connect/callback/",
    ],
)
def test_the_authorization_url_has_exactly_the_four_documented_parameters(redirect_uri: str) -> None:
    url = authorization_url(CONNECT, client_id="our app&co", redirect_uri=redirect_uri, state="s/1+2=")
    assert url.startswith(CONNECT + "?")
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "response_type": "code",
        "client_id": "our app&co",
        "redirect_uri": redirect_uri,
        "state": "s/1+2=",
    }
    assert len(urlsplit(url).query.split("&")) == 4
    encoded = urlsplit(url).query.split("redirect_uri=")[1].split("&")[0]
    assert unquote(encoded) == redirect_uri and "+" not in encoded


def test_the_authorization_page_may_be_on_loopback_http_only_where_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(url: str, allowed: bool) -> str:
        return authorization_url(
            url, client_id="c", redirect_uri="https://a.example/", state="s", allow_loopback_http=allowed
        )

    assert build("http://127.0.0.1:8001/connect", True).startswith("http://127.0.0.1:8001/connect?")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # must not open any other host
    for url, allowed in [("http://127.0.0.1:8001/connect", False), ("http://my.snapinspect.example/c", True)]:
        with pytest.raises(BadPath):
            build(url, allowed)


def test_both_tokens_and_the_state_are_read_from_the_return() -> None:
    back = read_response(GOOD)
    assert (back.state, back.pair, back.problem) == ("s1", TokenPair(ACCESS, REFRESH), None)


def test_a_plus_that_the_sender_forgot_to_encode_stays_a_plus() -> None:
    back = read_response("access_token=a+b%2Bc&refresh_token=d+e&state=s")
    assert back.pair == TokenPair("a+b+c", "d+e")


@pytest.mark.parametrize(
    "query",
    [
        "Access_Token=a&Refresh_Token=b&State=s",
        "accessToken=a&refreshToken=b&state=s&tokenType=Bearer",
        "access_token=a&amp;refresh_token=b&amp;state=s",
        "?access_token=a&refresh_token=b&state=s",
        "access_token=a%0A&refresh_token=%20b&state=s&token_type=Bearer%20",
        "access_token[]=a&refresh_token[]=b&state=s",
    ],
)
def test_names_in_other_spellings_and_blanks_around_tokens_are_read(query: str) -> None:
    back = read_response(query)
    assert (back.state, back.pair) == ("s", TokenPair("a", "b"))


@pytest.mark.parametrize("kind", ["", "&token_type=", "&token_type=bearer", "&token_type=BEARER"])
def test_the_token_type_may_be_missing_or_bearer_in_any_case(kind: str) -> None:
    assert read_response("access_token=a&refresh_token=b&state=s" + kind).pair == TokenPair("a", "b")


@pytest.mark.parametrize(
    ("query", "state", "problem"),
    [
        ("error=access_denied&error_description=no&state=s1", "s1", "declined"),
        ("error=&state=s1", "s1", "no_token"),
        ("error=&access_token=a&state=s1", "s1", "no_refresh_token"),
        ("error=access_denied&access_token=a&state=s1", "s1", "declined"),
        ("state=s1", "s1", "no_token"),
        ("", None, "no_token"),
        ("access_token=&refresh_token=&state=s1", "s1", "no_token"),
        ("access_token=null&refresh_token=undefined&state=s1", "s1", "no_token"),
        ("Error=access_denied&state=s1", "s1", "declined"),
        (GOOD + "&Access_Token=other", "s1", "duplicated"),
        ("refresh_token=r&state=s1", "s1", "no_access_token"),
        ("access_token=&refresh_token=r&state=s1", "s1", "no_access_token"),
        ("access_token=a&state=s1", "s1", "no_refresh_token"),
        ("access_token=a&refresh_token=&state=s1", "s1", "no_refresh_token"),
        ("access_token=a&refresh_token&state=s1", "s1", "no_refresh_token"),
        (GOOD + "&access_token=other", "s1", "duplicated"),
        (GOOD + "&access%5Ftoken=other", "s1", "duplicated"),
        (GOOD + "&refresh_token=", "s1", "duplicated"),
        (GOOD + "&token_type=Bearer", "s1", "duplicated"),
        (GOOD + "&state=s2", None, "duplicated"),
        ("error=a&error=b&state=s1", "s1", "declined"),
        ("access_token=a%0d%0ab&refresh_token=r&state=s1", "s1", "odd_token"),
        ("access_token=a%20b&refresh_token=r&state=s1", "s1", "odd_token"),
        ("access_token=a%00b&refresh_token=r&state=s1", "s1", "odd_token"),
        ("access_token=a%C3%BC&refresh_token=r&state=s1", "s1", "odd_token"),
        ("access_token=a\xfc&refresh_token=r&state=s1", "s1", "odd_token"),
        ("access_token=a&refresh_token=%FF%FE&state=s1", "s1", "odd_token"),
        ("access_token=a&refresh_token=r&token_type=mac&state=s1", "s1", "not_bearer"),
        ("a&" * 60 + GOOD, None, "too_long"),
        (GOOD + "x" * 20_000, None, "too_long"),
    ],
)
def test_C7_C8_anything_but_two_good_tokens_is_a_named_problem(query: str, state: str | None, problem: str) -> None:
    back = read_response(query)
    assert (back.state, back.pair, back.problem) == (state, None, problem)


@pytest.mark.parametrize(
    "beside", ["error=", "error=server_error", "error=access_denied&error=x", "error_description=no"]
)
def test_two_good_tokens_are_access_whatever_error_stands_beside_them(beside: str) -> None:
    assert read_response(f"{GOOD}&{beside}").pair is not None


@pytest.mark.parametrize("state", ["", "s" * 513, "a%00", "a%20b", "%C3%BC", "\udcff"])
def test_C1_an_odd_state_is_no_state(state: str) -> None:
    assert read_response(f"access_token=a&refresh_token=b&state={state}").state is None


def test_C9_long_tokens_are_accepted() -> None:
    access, refresh = "a" * LONGEST_TOKEN, "+" * 100 + "b" * (LONGEST_TOKEN - 100)
    assert LONGEST_TOKEN >= 5 * 1024
    back = read_response(f"access_token={access}&token_type=Bearer&state={'s' * 512}&refresh_token={quote(refresh)}")
    assert back.pair == TokenPair(access, refresh)


_NAMES = st.sampled_from(["access_token", "refresh_token", "state", "error", "token_type", "%", ""])
_VALUES = st.text(max_size=8) | st.sampled_from(["a", "b", "%ff", "%00", "+", "\ud800", "Bearer"])


@given(st.text() | st.lists(st.tuples(_NAMES, _VALUES)).map(lambda p: "&".join("=".join(x) for x in p)))
def test_no_query_whatever_makes_the_reader_raise_or_hand_out_half_a_pair(query: str) -> None:
    back = read_response(query)
    assert (back.pair is None) == (back.problem is not None)
