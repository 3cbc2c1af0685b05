"""Whatever names a company is read; what else is odd stays empty."""

import gzip
import json
import re
import time
import zlib
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.models import Delivery
from integrations.snapinspect.webhook_body import PROBLEMS, Hint, Unreadable, read, readable_text
from integrations.snapinspect.webhook_members import LONGEST_TYPE, NAME_OF
from integrations.snapinspect.webhook_text import bare

pytestmark = pytest.mark.once

BODY: dict[str, Any] = {"sType": "Create_Inspection", "iInspectionID": 1, "iInsReviewID": 77, "iCompanyID": 6847}
HINT = Hint("Create_Inspection", "1", "77", "6847")
PLAIN = json.dumps(BODY).encode()
ANOTHER = BODY | {"iInspectionID": 2}


def one(body: bytes | dict[str, Any]) -> Hint:
    (hint,) = read(body if isinstance(body, bytes) else json.dumps(body).encode())
    return hint


def multipart(*fields: tuple[str, bytes], boundary: bytes = b"----x7") -> bytes:
    parts = (b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name.encode(), value)
             for name, value in fields)  # fmt: skip
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    "value",
    ["6847", '"6847"', '" 6847 "', '"\\t6847\\n"', "6847.0", '"6847.0"', '"6847."', "6.847e3", "6.847E+03", '"06847"',
     "68470e-1", "6847.000000000000000000000", '"\\u00a06847"', '"6,847"', '"6 847"', '"6\\u00a0847"', '"6.847e3"',
     '"\uff16\uff18\uff14\uff17"', '"\\u200b6847\\ufeff"', '"\\"6847\\""'],
)  # fmt: skip
def test_a_number_is_read_in_any_spelling(value: str) -> None:
    assert one(f'{{"iInspectionID": {value}, "iCompanyID": {value}}}'.encode()) == Hint("", "6847", "", "6847")


@pytest.mark.parametrize("longest", ["9" * 20, "18446744073709551616", "12345678901234567890.0"])
def test_no_digit_of_a_long_number_is_lost(longest: str) -> None:
    assert one(f'{{"iCompanyID": {longest}}}'.encode()).company_id == longest.partition(".")[0]


@pytest.mark.parametrize(
    "value", [None, "", " ", 0, 0.0, "0", "00", -1, "-1", "-1.0", "n/a", "N/A", "null", "none", False]
)
@pytest.mark.parametrize("name", ["iInspectionID", "iInsReviewID"])
def test_what_stands_for_no_number_is_none_and_no_problem(name: str, value: object) -> None:
    hint = one(BODY | {name: value})
    assert (hint.company_id, hint.problem) == ("6847", "")
    assert (hint.inspection_id if name == "iInspectionID" else hint.review_id) == ""


@pytest.mark.parametrize(
    "value",
    ["true", "{}", "[1]", "1.5", "-5", "1e400", "1" + "0" * 5000, '"1/../2"', '"१"', '"seven"', '"1 2"', "1e-3",
     '"\\ud800"', '"0x10"', '"1_0"', "100000000000000000000", "1e99", "[" * 50 + "]" * 50],
)  # fmt: skip
def test_an_unreadable_side_is_empty_and_named(value: str) -> None:
    sides = {"iInspectionID": "bad_inspection_id", "iInsReviewID": "bad_review_id"}
    for name, problem in sides.items():
        assert one(f'{{"{name}": {value}, "iCompanyID": 6847}}'.encode()) == Hint(company_id="6847", problem=problem)
    assert one(f'{{"iInspectionID": 1, "iCompanyID": {value}}}'.encode()) == Hint("", "1", problem="bad_company_id")


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ("7", "7"), ("7.50", "7.50"), ("1e400", "1e400"), ("true", "true"), ("null", ""), ("NaN", ""), ('""', ""),
        ('"  Create_Inspection\\n"', "Create_Inspection"), ('"a\\u0000b"', "a�b"), ('"a\\u001bb"', "a�b"),
        ('"\\ud800"', "�"), ('"a\x01b"', "a�b"), ('"Status \\ud83d\\ude00 geändert"', "Status 😀 geändert"),
        ('"a\\u0301\\u200d"', "a\u0301\u200d"), ('"a\\u202eb"', "a�b"), ('"a\\tb"', "a b"),
        (f'"{"x" * 101}"', "x" * 100), (f'"{"😀" * 5000}"', "😀" * 100),
    ],
)  # fmt: skip
def test_a_type_is_any_text_cleaned_and_cut(value: str, read_as: str) -> None:
    assert one(f'{{"sType": {value}, "iCompanyID": 6847}}'.encode()) == Hint(read_as, company_id="6847")


@pytest.mark.parametrize("value", ["{}", '["Create_Inspection"]'])
def test_a_type_that_is_no_text_is_empty_and_named(value: str) -> None:
    assert one(f'{{"sType": {value}, "iCompanyID": 6847}}'.encode()) == Hint(company_id="6847", problem="bad_type")


def test_a_type_fits_into_its_column() -> None:
    assert Delivery._meta.get_field("type").max_length == LONGEST_TYPE


@pytest.mark.parametrize(
    "change",
    [str.lower, str.upper, str.title, lambda name: name[1:], lambda name: f"{name[0]}_{name[1:]}",
     {"iCompanyID": "company_id", "iInspectionID": "inspection-id", "iInsReviewID": "reviewId", "sType": "type"}.get,
     lambda name: f"@{name}", lambda name: f" {name}: ", lambda name: f"int{name[1:]}", lambda name: f"n{name[1:]}"],
)  # fmt: skip
def test_names_are_read_in_other_spellings(change: Any) -> None:
    assert one({change(name): value for name, value in BODY.items()}) == HINT


def test_the_documented_spelling_comes_first_and_the_first_readable_one_counts() -> None:
    assert one({"companyid": 5, "iCompanyID": 6847, "CompanyID": 7}).company_id == "6847"
    assert one({"iCompanyID": None, "icompanyid": 6847}) == Hint(company_id="6847")
    assert one(b'{"iCompanyID": 5, "iCompanyID": 6847}').company_id == "6847"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN + b"\0",
        b"\r\n " + PLAIN + b"\x1a\n",
        PLAIN + b",",
        PLAIN + b" \xff rest",
        *(PLAIN.decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig")),
        PLAIN.replace(b"}", b', "sStatus": "erledigt \xfc\xff"}'),
        PLAIN.replace(b"}", b', "note": "\\ud800\\u0000"}'),
        PLAIN.replace(b"}", b', "note": "\x00\x01\t\n"}'),
        PLAIN.replace(b"}", b', "note": "\xed\xa0\x80"}'),
        PLAIN.replace(b"}", b', "\\udfff": NaN, "b": -Infinity, "c": 1e400, "d": ' + b"9" * 5000 + b"}"),
        PLAIN.replace(b"}", b', "deep": ' + b"[" * 300 + b"]" * 300 + b"}"),
        gzip.compress(PLAIN),
        zlib.compress(PLAIN),
        gzip.compress(b"\xef\xbb\xbf" + PLAIN),
        gzip.compress(gzip.compress(PLAIN)),
        gzip.compress(PLAIN[:30]) + gzip.compress(PLAIN[30:]),
        gzip.compress(zlib.compress(PLAIN.decode().encode("utf-16"))),
        quote(PLAIN.decode()).join(["payload=", ""]).encode(),
        urlencode({"id": "1", "payload": PLAIN.decode()}).encode(),
        urlencode({"anything": PLAIN.decode()}).encode(),
        urlencode(BODY).encode(),
        gzip.compress(urlencode({"payload": PLAIN.decode()}).encode()),
        urlencode({"payload": PLAIN.decode(), "note": "a&b"}).replace("&", "\r\n").encode(),
        urlencode([(f"data[{name}]", value) for name, value in BODY.items()]).encode(),
        urlencode([(f"event.{name}[]", value) for name, value in BODY.items()]).encode(),
        urlencode([*BODY.items(), ("iCompanyID", ""), ("iInspectionID", "")]).encode(),
        b"?" + urlencode(BODY).encode(),
        multipart(("payload", PLAIN)).replace(b'form-data; name="payload"', b"attachment"),
        multipart(("payload", PLAIN)),
        multipart(("note", b"\xff"), ("payload", PLAIN), boundary=b"b"),
        multipart(*((name, str(value).encode()) for name, value in BODY.items())),
        json.dumps({"payload": BODY}).encode(),
        json.dumps({"payload": PLAIN.decode()}).encode(),
        json.dumps({"d": PLAIN.decode(), "version": 2}).encode(),
        json.dumps(PLAIN.decode()).encode(),
        json.dumps([PLAIN.decode()]).encode(),
        json.dumps({"sType": "Create_Inspection", "inspection": {"id": 1}, "oReview": {"iID": 77},
                    "company": {"id": "6847", "name": "Acme"}}).encode(),
        json.dumps({"sType": "Create_Inspection", "Inspection": {"iInspectionID": 1, "iInsReviewID": 77},
                    "Company": {"iCompanyID": 6847, "sName": "Acme"}}).encode(),
        PLAIN.replace(b"}", b', "iCompanyID": null, "iInspectionID": ""}'),
        json.dumps({"Data": {"event": BODY}, "version": 2}).encode(),
        json.dumps([BODY]).encode(),
        json.dumps({"iCompanyID": 6847, "iInsReviewID": 77, "inspection": BODY | {"iCompanyID": None}}).encode(),
        json.dumps(BODY | {"iCompanyID": None, "companyid": "", "x": [{"company": {"iCompanyID": 6847}}]}).encode(),
    ],
)  # fmt: skip
def test_the_company_is_read_whatever_else_is_odd(body: bytes) -> None:
    assert one(body) == HINT


@pytest.mark.parametrize(
    "body",
    [
        PLAIN[:-1] + b",}",
        PLAIN.replace(b'"', b"'"),
        PLAIN.replace(b'"', b'\\"'),
        PLAIN.replace(b'"', b"&quot;"),
        PLAIN.decode().replace('"', "\u201d").encode(),
        PLAIN.replace(b": ", b" => "),
        PLAIN.replace(b'ID": ', b'ID": 00'),
        PLAIN.replace(b"}", b', "sStatus": "C:\\Users\\x"}'),
        PLAIN.replace(b"}", b', "sStatus": "3" pipe"}'),
        PLAIN.replace(b"}", b', "sStatus": "cut'),
        PLAIN.replace(b"}", b', "sStatus": "\x95\\"}'),
        PLAIN.replace(b"}", b', "dtChanged": new Date(17)}'),
        PLAIN.replace(b"}", b', "x": undefined, y: True /* why */ }'),
        b"/* what happened */ callback(" + PLAIN + b");",
        b"data: " + PLAIN + b"\n\n",
        b"\xff" + PLAIN,
        quote(PLAIN.decode()).encode() + b"=",
        b"payload=" + quote(quote(PLAIN.decode())).encode(),
        b'payload={"sStatus": "a & b=c", ' + PLAIN[1:],
        "&".join([*(f"a{number}=1" for number in range(200)), urlencode(BODY)]).encode(),
        "".join(f"{name}: {value}\n" for name, value in BODY.items()).encode(),
        b"<event>" + "".join(f"<{name}>{value}</{name}>" for name, value in BODY.items()).encode() + b"</event>",
        b"<event " + " ".join(f'{name}="{value}"' for name, value in BODY.items()).encode() + b"/>",
    ],
)  # fmt: skip
def test_what_stands_beside_its_names_is_read_from_a_body_with_mistakes(body: bytes) -> None:
    assert one(body) in {HINT, Hint("Create_Inspection", "1", "77", "6847", "not_json")}


@pytest.mark.parametrize(
    "body",
    [
        b'{"iInspectionID": 1, "iCompanyID": 6,847}', b'{"iInspectionID": 1, "iCompanyID": 6847.5, x}',
        b'{"iInspectionID": 1, "iCompanyID": -6847, x}', b'{"iInspectionID": 1, "iCompanyID": 0x1abf}',
        b'{"iInspectionID": 1, "iCompanyID": 68', b"<iCompanyID>68", b"iCompanyID: , 6847", b"my iCompanyID is 6847",
        b'{"myiCompanyIDs": 6847, x}',
    ],
)  # fmt: skip
def test_a_number_that_may_be_another_one_is_read_from_no_body(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([BODY, ANOTHER]).encode(),
        json.dumps([[BODY], [[ANOTHER]]]).encode(),
        json.dumps({"events": [BODY, ANOTHER]}).encode(),
        json.dumps({"sType": "Create_Inspection", "iCompanyID": 6847, "events": [
            {"iInspectionID": 1, "iInsReviewID": 77}, {"iInspectionID": "2", "iInsReviewID": 77}]}).encode(),
        PLAIN + b"\n" + json.dumps(ANOTHER).encode() + b"\n",
        PLAIN + json.dumps(ANOTHER).encode(),
        urlencode({"payload": json.dumps([BODY, ANOTHER])}).encode(),
        urlencode([("payload", json.dumps(BODY)), ("payload", json.dumps(ANOTHER))]).encode(),
        urlencode([(f"events[{number}][{name}]", value) for number, event in enumerate((BODY, ANOTHER))
                   for name, value in event.items()]).encode(),
        json.dumps([json.dumps(BODY), json.dumps(ANOTHER)]).encode(),
        b"[" + PLAIN + b",," + json.dumps(ANOTHER).encode() + b",]",
        gzip.compress(json.dumps([BODY, ANOTHER]).encode()),
    ],
)  # fmt: skip
def test_each_of_several_is_an_event_with_its_own_source(body: bytes) -> None:
    first, second = read(body)
    assert [(hint.inspection_id, hint.company_id, hint.type) for hint in (first, second)] == [
        ("1", "6847", "Create_Inspection"),
        ("2", "6847", "Create_Inspection"),
    ]
    assert first.source != second.source
    for hint in (first, second):
        again = one(hint.source.encode())
        assert (again.inspection_id, again.company_id) == (hint.inspection_id, hint.company_id)


def test_a_company_that_the_objects_in_an_event_repeat_is_no_further_event() -> None:
    body = BODY | {"users": [{"iCompanyID": 6847}, {"iCompanyID": 5, "iInspectionID": 9}]}
    assert one(body) == HINT
    assert one({"sType": "Ping", "iCompanyID": 6847, "users": [{"iCompanyID": 6847}] * 2}) == Hint(
        "Ping", company_id="6847"
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "empty"), (b" \r\n\0", "empty"), (gzip.compress(b" "), "empty"), (b"\xef\xbb\xbf", "empty"),
        (b"<inspection id='1'/>", "not_json"), (PLAIN[:-1], "not_json"), (b"rubbish", "not_json"),
        (b"a=b&c=d", "not_json"), (b"--x\r\n\r\n--x--", "not_json"), (b"\xff\xfe" + PLAIN, "not_json"),
        (b"[" * 30_000 + b"]" * 30_000, "too_deep"), (b'{"payload":' * 30_000 + b"1" + b"}" * 30_000, "too_deep"),
        (b"[]", "not_object"), (b'"text"', "not_object"), (b"7", "not_object"), (b"null", "not_object"),
        (b"[[]]", "not_object"), (gzip.compress(PLAIN)[:10], "not_text"), (b"\x1f\x8brubbish", "not_text"),
        (gzip.compress(b" " * 1024 * 1024 + PLAIN), "too_large"),
        (json.dumps([BODY] * 1001).encode(), "too_many_events"),
        (json.dumps([{"a": 1}] * 20_000).encode(), "too_many_events"),
    ],
)  # fmt: skip
def test_a_body_that_names_nobody_is_refused_for_a_reason_without_its_text(body: bytes, problem: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(body)
    assert caught.value.problem == problem and PROBLEMS[problem]
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_an_object_that_names_nobody_is_an_event_of_whoever_the_address_belongs_to() -> None:
    assert one({}) == Hint()
    assert one({"sType": "Ping"}) == Hint("Ping")
    assert one({"iInspectionID": "1"}) == Hint("", "1")


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b" " * 70_000_000)[:64_000],
        gzip.compress(b"[" + b"{}," * 340_000 + b"{}]"),
        gzip.compress(json.dumps([{"iInspectionID": 1, "x": [{}] * 300_000}]).encode()),
        gzip.compress(b"&a=" * 340_000),
        gzip.compress(b"--x\n" * 250_000),
        b'{"payload":"' * 20 + b"\\" * 60_000,
        gzip.compress(b'{x "iCompanyID": 5, ' * 50_000),
        gzip.compress(b"{" + b"a-" * 500_000),
        gzip.compress(b"{" + b'a\\"' * 250_000),
        gzip.compress(b"a[" * 250_000 + b"=1"),
        gzip.compress(b"&".join(b"a" + b"[b]" * 9000 + b"=1" for _ in range(30))),
        gzip.compress(b"{") * 2500,
        gzip.compress(json.dumps(["[" * 90] * 10_000).encode()),
    ],
)
def test_no_body_takes_long(body: bytes) -> None:
    begun = time.process_time()
    with suppress(Unreadable):
        read(body)
    assert time.process_time() - begun < 2, "the generous limit of a shared machine"


def test_people_read_a_body_as_text() -> None:
    assert readable_text(gzip.compress(PLAIN)) == readable_text(PLAIN.decode().encode("utf-16")) == PLAIN.decode()
    assert readable_text(b"a\xff\x1f") == "a\\xff\x1f"
    assert readable_text(b"\x1f\x8bx") == "\x1f\\x8bx"


NAMES = st.sampled_from([*BODY, "icompanyid", "payload", "events", ""])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([6847, "6847", "{}"])
)
documents = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))
bodies = st.binary(max_size=100) | documents.map(lambda value: json.dumps(value).encode())


@given(bodies, st.sampled_from([bytes, gzip.compress, lambda body: b"payload=" + quote(body).encode()]))
def test_every_body_is_a_hint_that_can_be_stored_or_a_named_problem(body: bytes, packed: Any) -> None:
    try:
        hints = read(packed(body))
    except Unreadable as unreadable:
        assert unreadable.problem in PROBLEMS
        return
    for hint in hints:
        for number in (hint.inspection_id, hint.review_id, hint.company_id):
            assert re.fullmatch("|[1-9][0-9]{0,19}", number)
        assert len(hint.type) <= LONGEST_TYPE and b"\0" not in hint.type.encode()
        assert hint.problem == "" or hint.problem in PROBLEMS
    readable_text(packed(body))


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: bare(name) not in NAME_OF), documents))
def test_a_company_is_read_beside_anything(others: dict[str, Any]) -> None:
    assert one(others | BODY) == HINT
