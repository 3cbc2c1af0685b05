"""JSON from the remote: what is not JSON is refused, one bad character is repaired."""

import itertools
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from integrations.snapinspect import json_answers
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import Garbled

from .remotes import ACCESS, http, remote

BAD_BODIES = {
    "html": (b"<html><body>Sign in</body></html>", "not_json"),
    "cut": (b'{"iCompanyID": 68', "not_json"),
    "empty": (b"", "not_json"),
    "two values": (b"{}{}", "not_json"),
    "deep nesting": (b"[" * 101 + b"]" * 101, "not_json"),
    "very deep nesting": (b"[" * 100_000 + b"]" * 100_000, "not_json"),
    "5,000 digits": (b'{"a": ' + b"7" * 5000 + b"}", "not_json"),
    "not gzip": (b"\x1f\x8bnonsense", "not_text"),
}
REPAIRED = {
    "wrong charset": ('{"sName": "Zoë"}'.encode("latin-1"), {"sName": "Zo\ufffd"}),
    "utf-16": ('{"sName": "Ann"}'.encode("utf-16"), {"sName": "Ann"}),
    "NaN": (b'{"a": NaN, "b": 1}', {"a": None, "b": 1}),
    "Infinity": (b'{"a": [-Infinity]}', {"a": [None]}),
    "infinite float": (b'{"a": 1e400}', {"a": None}),
    "NUL": (b'{"a": "x\\u0000y"}', {"a": "x\ufffdy"}),
    "NUL in a key": (b'{"x\\u0000y": 1}', {"x\ufffdy": 1}),
    "raw NUL": (b'{"a": "x\x00y"}', {"a": "x\ufffdy"}),
    "raw control character": (b'{"a": "x\x07\ny"}', {"a": "x\x07\ny"}),
    "lone surrogate": (b'{"a": ["\\ud800"]}', {"a": ["\ufffd"]}),
    "lone surrogate in a key": (b'{"\\udfff": 1}', {"\ufffd": 1}),
    "half a pair, then the other way round": (b'{"a": "\\udc00\\ud800"}', {"a": "\ufffd\ufffd"}),
    "encoded surrogate": (b'{"a": "\xed\xa0\x80"}', {"a": "\ufffd" * 3}),
}
WRONG_TYPES = {"number": b"7", "string": b'"text"', "null": b"null", "list of numbers": b"[1, 2]"}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_A8_a_bad_body_is_a_typed_error_without_its_text(name: str, client_of: Callable[..., Client]) -> None:
    body, kind = BAD_BODIES[name]
    headers = {"Content-Encoding": "gzip"} if name == "not gzip" else {"Content-Type": "application/json"}
    with remote(http(body, headers=headers)) as server:
        with pytest.raises(Garbled) as caught:
            client_of(server).get("user")
        assert len(server.calls) == 1
    assert caught.value.kind == kind
    assert caught.value.__context__ is None and caught.value.__cause__ is None


@pytest.mark.parametrize("name", REPAIRED)
def test_A8_one_bad_character_is_repaired_and_the_answer_used(name: str, client_of: Callable[..., Client]) -> None:
    body, value = REPAIRED[name]
    with remote(http(body)) as server:
        assert client_of(server).get("user").json == value


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_A8_a_user_of_the_wrong_type_is_a_typed_error(name: str, client_of: Callable[..., Client]) -> None:
    with remote(http(WRONG_TYPES[name])) as server, pytest.raises(Garbled) as caught:
        client_of(server).user()
    assert caught.value.kind == "no_account"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (json.dumps('{"a": "\ud800"}').encode(), {"a": "\ufffd"}),
        (json.dumps({"d": '[{"a": 1}]'}).encode(), {"d": [{"a": 1}]}),
        (b'"{no JSON"', "{no JSON"),
        ('{"sName": "Zoë \\ud83d\\ude00"}'.encode(), {"sName": "Zoë 😀"}),
        (b"[" * 100 + b"]" * 100, json.loads("[" * 100 + "]" * 100)),
        (b'{"a": 1.5, "b": -0, "c": [null, true]}', {"a": 1.5, "b": 0, "c": [None, True]}),
    ],
)
def test_good_json_is_read_whatever_its_content_type(
    body: bytes, value: object, client_of: Callable[..., Client]
) -> None:
    with remote(http(body, headers={"Content-Type": "text/html; charset=latin-1"})) as server:
        answer = client_of(server).get("user")
    assert answer.json == value
    assert (answer.status, answer.size) == (200, len(body)) and answer.seconds > 0


@pytest.mark.parametrize(
    "spelling",
    [
        ACCESS,
        quote(ACCESS),
        quote(ACCESS, safe=""),
        quote(ACCESS, safe="").replace("%2F", "%2f"),
        json.dumps(ACCESS).replace("/", "\\/"),
        "".join(f"%{ord(character):02x}" for character in ACCESS),
        "".join(f"\\u{ord(character):04X}" for character in ACCESS),
    ],
)
def test_T7_a_token_that_the_answer_echoes_is_taken_out_in_every_spelling(spelling: str) -> None:
    body = json.dumps({"a": [f"Bearer {spelling}!"], f"key {spelling}": 1, "n": 7}).encode()
    value = json.dumps(json_answers.parse(body, hide=[ACCESS]))
    assert spelling not in value and ACCESS not in value and value.count(json_answers.HIDDEN) == 2


def test_T7_a_token_in_escapes_of_the_answer_itself_is_taken_out() -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in ACCESS)
    assert json_answers.parse(f'["{escaped}"]'.encode(), hide=[ACCESS]) == [json_answers.HIDDEN]


@pytest.mark.parametrize("spelled", ["\\u{:04x}", "%{:02X}", "\\{1}", "{1}"])
@pytest.mark.parametrize("last", "u%\\0/+")
def test_T7_no_part_of_a_token_stays_whatever_character_it_ends_in(spelled: str, last: str) -> None:
    token = f"made-up{last}"
    text = "".join(spelled.format(ord(character), character) for character in token)
    assert json_answers.without_tokens(f"<{text}>".encode(), hide=[token], is_text=True) == b"<[token]>"
    for end in ("", ">", ">" * 100):
        body = f"{'<' * 100}{text}{end}".encode()
        for cut, second in itertools.product(range(len(body)), (1, 3, len(body))):
            pieces = (piece for piece in (body[cut : cut + second], body[cut + second :]))
            shown = json_answers.pieces_without_tokens(pieces, hide=[token], is_text=True, start=body[:cut])
            assert b"".join(shown) == f"{'<' * 100}[token]{end}".encode()
