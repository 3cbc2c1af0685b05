"""JSON that is nested too deeply is refused before a parser sees it: at the end of the stack, finalizers fail."""

import json
import sys
from collections.abc import Callable

import pytest

from integrations.snapinspect import json_answers, json_depth, json_text, webhook_body
from integrations.snapinspect.errors import Garbled
from integrations.snapinspect.exchange_call import Exchanged
from integrations.snapinspect.json_depth import MOST_NESTED
from tests.support.finalizers import lost_in

from .remotes import http, remote

DEEP = {"lists": "[" * 100_000 + "]" * 100_000, "objects without end": '{"a":' * 20_000}


def nested(depth: int, inside: str = "", opening: str = "[", closing: str = "]") -> str:
    return opening * depth + inside + closing * depth


def refused_answer(body: str) -> None:
    with pytest.raises(Garbled) as caught:
        json_answers.parse(body.encode(), hide=[])
    assert caught.value.kind == "not_json"


def refused_webhook(body: str, problem: str = "too_deep") -> None:
    with pytest.raises(webhook_body.Unreadable) as caught:
        webhook_body.read(body.encode())
    assert caught.value.problem == problem


def read_webhook(body: str) -> None:
    (hint,) = webhook_body.read(body.encode())
    assert (hint.company_id, hint.inspection_id) == ("6847", "5")


def shown_as_it_is(text: str) -> None:
    assert json_text.text_laid_out(text, most=1000) == text[:1000] + json_text.CUT


ENTRANCES: dict[str, Callable[[str], None]] = {
    "an answer": refused_answer,
    "an answer that was encoded twice": lambda text: refused_answer(json.dumps(text)),
    "a text in an answer": lambda text: refused_answer(json.dumps({"d": text})),
    "a text for people": shown_as_it_is,
    "a webhook": refused_webhook,
    "behind the first event of a webhook": lambda text: read_webhook(
        '{"iCompanyID": 6847, "iInspectionID": 5}\n' + text
    ),
    "a text in a webhook": lambda text: refused_webhook(json.dumps([text]), "not_object"),
    "a field of a webhook's form": lambda text: read_webhook(f"iCompanyID=6847&iInspectionID=5&sNote={text}"),
    "a note in XML": lambda text: read_webhook(
        f"<e><iCompanyID>6847</iCompanyID><iInspectionID>5</iInspectionID><sNote>{text}</sNote></e>"
    ),
    "a note in JSON with a mistake": lambda text: read_webhook(
        f'{{"iCompanyID": 6847, "iInspectionID": 5, "sNote": "7" {text}"}}'
    ),
}


@pytest.mark.parametrize("shape", DEEP)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_finalizers_run_while_deep_json_is_refused(entrance: str, shape: str) -> None:
    assert lost_in(lambda: ENTRANCES[entrance](DEEP[shape])) == []


@pytest.mark.parametrize("body", [DEEP["lists"], json.dumps({"d": DEEP["objects without end"]})])
def test_finalizers_run_while_a_deep_answer_to_an_exchange_is_refused(
    body: str, exchange_at: Callable[..., Exchanged]
) -> None:
    def refused() -> None:
        with pytest.raises(Garbled):
            exchange_at(server.url)

    with remote(http(body)) as server:
        assert lost_in(refused) == []


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python collects no garbage within its parser any more")
def test_the_collections_of_these_tests_happen_where_no_stack_is_left() -> None:
    def deep() -> None:
        with pytest.raises(RecursionError):
            json.loads(DEEP["lists"])

    assert lost_in(deep)


# Text, and whether it is too deep.
DEPTHS = {
    "exactly": (nested(MOST_NESTED), False),
    "exactly, with something in it": (nested(MOST_NESTED, "7"), False),
    "one more": (nested(MOST_NESTED + 1), True),
    "one more, with something in it": (nested(MOST_NESTED + 1, "7"), True),
    "objects": (nested(MOST_NESTED, "7", '{"a": ', "}"), False),
    "objects, one more": (nested(MOST_NESTED + 1, "7", '{"a": ', "}"), True),
    "both kinds": (nested(MOST_NESTED // 2, "{}", '[{"a": ', "}]"), True),
    "many beside each other": (nested(1, ",".join([nested(MOST_NESTED - 1)] * 50)), False),
    "one of many": (nested(1, ",".join([nested(MOST_NESTED - 1)] * 50 + [nested(MOST_NESTED)])), True),
    "brackets in a string": (json.dumps(["[" * 100_000]), False),
    "closing brackets in a string": (nested(MOST_NESTED, ",".join([json.dumps("]" * 9), nested(1)])), True),
    "between strings": (nested(MOST_NESTED + 1, '"a"', '["[", ', "]"), True),
    "strings with brackets between": (nested(MOST_NESTED, '"a"', '["[{", "]", ', "]"), False),
    "escaped quotes": (nested(1, json.dumps('"[' * 1000)), False),
    "escaped quotes, one more": (nested(MOST_NESTED, r'"]\"]", []'), True),
    "a backslash at the end of a string": (nested(1, r'"\\", ' + nested(MOST_NESTED) + r', "\\"'), True),
    "backslashes before a quote": (nested(1, r'"\\\"' + "[" * 1000 + r'\\"'), False),
    "an escape before a backslash": (nested(1, r'"\n\\", "' + "[" * 1000 + '"'), False),
    "empty strings": (nested(MOST_NESTED + 1, '""', '["", "", ', "]"), True),
    "empty strings, exactly": (nested(MOST_NESTED, '"", ""', '["", "", ', "]"), False),
    "letters that are not ASCII": (nested(MOST_NESTED + 1, '"漢\ud800"', '["é[", ', "]"), True),
    "few brackets": ('"' + "\\" * 100_000, False),
    "a string without end": (nested(1, ",".join(["[]"] * 700)) + '"' + r"\"[" * 100_000, False),
    "nothing": ("", False),
}


def levels(text: str) -> int:
    """As a parser finds them; 0 for what is no JSON."""
    try:
        level = [json.loads(text, strict=False)]
    except ValueError:
        return 0
    found = 0
    while level := [value for value in level if isinstance(value, list | dict)]:
        found += 1
        level = [item for value in level for item in (value.values() if isinstance(value, dict) else value)]
    return found


@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_levels_are_counted_as_a_parser_counts_them(name: str, encoding: str) -> None:
    text, is_too_deep = DEPTHS[name]
    text = json_answers.text_of(text.encode(encoding, "surrogatepass"))
    assert (levels(text) > MOST_NESTED) == is_too_deep
    if is_too_deep:
        with pytest.raises(json_depth.TooDeep):
            json_depth.check(text)
    else:
        json_depth.check(text)


def test_a_webhook_is_read_to_the_last_level_that_is_allowed_and_beyond_it_by_names_alone() -> None:
    for depth, problem in ((MOST_NESTED - 1, ""), (MOST_NESTED, "too_deep")):
        (hint,) = webhook_body.read(f'{{"iCompanyID": 6847, "deep": {nested(depth)}}}'.encode())
        assert (hint.company_id, hint.problem) == ("6847", problem)
