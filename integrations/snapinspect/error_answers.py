"""Recognizes answers with status 2xx that report a failure instead of what was asked for.

The vendor documents no error answers. Many APIs answer 200 and say in the body that nothing came of it, under the names
below. They are compared without case, separators and type prefix: bSuccess, IsSuccess and is_success are one name.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal

from integrations.snapinspect.json_answers import Json

Problem = Literal["", "failed", "unauthorized"]

_SUCCESS = frozenset({
    "success", "ok", "succeeded", "successful", "issuccess", "isok", "issuccessful", "successstatuscode",
})  # fmt: skip
# false: the token is not accepted.
_ACCESS = frozenset({
    "authenticated", "authorized", "authorised", "loggedin", "signedin", "valid", "validtoken", "tokenvalid", "active",
})  # fmt: skip
_ERROR = frozenset({
    "error", "errors", "errormessage", "errormessages", "errorcode", "errordescription", "errordetails",
    "iserror", "haserror", "haserrors", "exception", "exceptionmessage", "exceptiontype", "fault", "failure", "failed",
})  # fmt: skip
# errMsg, error_text, validationErrors, faultstring
_ERROR_NAME = re.compile(
    r"err(?:s|no|id|or\w*|msg|message|code|text)?|\w*(?:error|errors|exception)|fault(?:string|code)"
)
# Members in which the answer proper may stand, beside others.
_ENVELOPES = frozenset({"d", "data", "response", "result", "user", "value", "payload", "body", "content", "meta"})
_CODE = frozenset({"code", "result", "resultcode", "responsecode"})
_STATUS = frozenset({"status", "statuscode", "httpcode", "httpstatus", "httpstatuscode"}) | _CODE
# What stands beside these names, and is no content by itself.
_NOTES = frozenset({
    "message", "messages", "messagedetail", "msg", "detail", "details", "description", "reason", "title", "type",
    "statustext", "statusmessage", "path", "instance", "timestamp", "time", "traceid", "requestid", "correlationid",
    "stacktrace", "erroruri", "errorid",
})  # fmt: skip
_YES = frozenset({"true", "yes", "1", "y", "t", "ok", "success", "successful", "succeeded", "200"})
_NO = frozenset({"false", "no", "0", "n", "f"})
_NOTHING = frozenset({"", "none", "null", "ok", "success"}) | _NO
_FAILED = frozenset({
    "error", "errors", "fail", "failed", "failure", "exception", "denied", "forbidden", "unauthorized", "unauthorised",
    "unauthenticated", "invalid", "ko",
})  # fmt: skip
_LEAST_ERROR_STATUS = 400
_PREFIX = re.compile(r"^(?:[Ii]s|[Hh]as|[bsoin])(?=[A-Z])")
_UNAUTHORIZED = re.compile(
    "|".join([
        r"unauthori[sz]",
        r"not authori[sz]ed",
        r"authori[sz]ation (?:(?:has been|was|is) )?(?:denied|required|failed)",
        r"access (?:(?:has been|was|is) )?denied",
        r"unauthenticated|not authenticated",
        r"authentication (?:is )?(?:required|failed)",
        r"not logged in|(?:log|sign) ?in (?:required|to continue)|please (?:log|sign) ?in",
        r"credentials (?:were|was|are) not provided|invalid credentials?\b",
        r"session (?:has |is )?(?:expired|timed out|invalid)|invalid session",
        r"\b(?:invalid|expired|revoked|bad|unknown)\b[^.]{0,20}\btoken",
        r"\btoken\b[^.]{0,30}\b(?:invalid|expired|revoked|not valid|not found|unknown|rejected|refused|deactivated)",
        r"\b401\b",
    ])
)  # fmt: skip
_LONGEST_TEXT: Final = 1000
_MOST_VALUES: Final = 1000
_DEPTH: Final = 3


def problem(answer: Json, *, is_identified: bool | None = None) -> Problem:
    """Returns what the answer reports instead of content: "unauthorized", "failed", or "" where it reports no failure.

    is_identified: whether the caller has found in it whom or what it is about. Then an error beside that is a warning;
    `success: false` is a failure all the same. None: whether it has any content.
    """
    found = _unwrapped(answer)
    if isinstance(found, str):
        return "unauthorized" if _says_unauthorized({"": found}) else ""
    if not isinstance(found, dict) or not found:
        return ""
    told = content(found)
    if is_identified is None:
        is_identified = bool(told)
    if not told and any(_plain(key) in _ACCESS and _word(value) in _NO for key, value in found.items()):
        return "unauthorized"
    if _reports_failure(found, is_identified) or _has_only_notes(found):
        return "unauthorized" if _says_unauthorized(found) else "failed"
    if not is_identified:
        return _problem_within(found, told)
    return ""


def _problem_within(found: dict[str, Json], told: dict[str, Json]) -> Problem:
    """What an answer that identifies nobody reports in an object within it, or in its only text."""
    for key, value in found.items():
        if _plain(key) in _ENVELOPES and isinstance(value, dict) and _reports_failure(value, is_identified=False):
            return "unauthorized" if _says_unauthorized(value) else "failed"
    if not told:
        # A list that is empty may have a note.
        return "unauthorized" if _says_unauthorized(found) else ""
    (text, *more) = told.values()
    if isinstance(text, str) and not more:
        return "unauthorized" if _says_unauthorized(told) else "failed" if _word(text) in _FAILED else ""
    return ""


def _says_unauthorized(answer: dict[str, Json]) -> bool:
    return any(_UNAUTHORIZED.search(text) for text in _texts(answer))


def content(answer: Json, *, depth: int = _DEPTH) -> dict[str, Json]:
    """Returns the members of an object that tell anything but whether the call succeeded; empty for other values."""
    found = _unwrapped(answer)
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if not _is_note(key, value) and not _is_empty(value, depth)}


def has_content(answer: Json) -> bool:
    """Returns whether the answer is an object with content, or a list that holds one."""
    return any(content(item) for item in (answer if isinstance(answer, list) else [answer]))


def _reports_failure(found: dict[str, Json], is_identified: bool) -> bool:
    for key, value in found.items():
        name = _plain(key)
        if name in _SUCCESS and _word(value) in _NO | _FAILED:
            return True
        if _names_error(name) and not is_identified and not _is_empty(value, 0) and _word(value) not in _NOTHING:
            return True
        # An inspection has a status of its own, `sStatus`, that may be "Failed".
        if name not in _STATUS or key.startswith("s" + name[0].upper()) or not _is_failed_status(value):
            continue
        if not is_identified or (
            (name not in _CODE or _word(value) in _FAILED) and "iinspectionid" not in map(str.lower, found)
        ):
            return True
    return False


def _is_failed_status(value: Json) -> bool:
    word = _word(value)
    return word in _FAILED or (word.isdecimal() and len(word) < 10 and int(word) >= _LEAST_ERROR_STATUS)


def _has_only_notes(found: dict[str, Json]) -> bool:
    """Whether it says nothing but that something happened, and not that it succeeded."""
    succeeded = any(_plain(key) in _SUCCESS | _STATUS and _word(value) in _YES for key, value in found.items())
    return not succeeded and all(_is_note(key, value) for key, value in found.items())


def _is_note(key: str, value: Json) -> bool:
    name = _plain(key)
    if name == "name":  # of an error: {"name": "UnauthorizedError", "message": …}
        return isinstance(value, str) and value.endswith(("Error", "Exception"))
    is_scalar = not isinstance(value, dict | list)
    return name in _SUCCESS or _names_error(name) or (name in _STATUS | _NOTES | _ACCESS and is_scalar)


def _names_error(name: str) -> bool:
    return name in _ERROR or _ERROR_NAME.fullmatch(name) is not None


def _is_empty(value: Json, depth: int) -> bool:
    if isinstance(value, dict) and value and depth:
        return not content(value, depth=depth - 1)
    if isinstance(value, list) and depth:
        return all(_is_empty(item, depth - 1) for item in value[:_MOST_VALUES])
    # 0 and false are what .NET writes for what was never set.
    return value is None or value in ("", [], {}, 0)


def _unwrapped(answer: Json) -> Json:
    """Returns the object within objects of one member, {"d": {…}}."""
    while isinstance(answer, dict) and len(answer) == 1:
        ((key, inner),) = answer.items()
        if not isinstance(inner, dict) or _is_note(key, inner):
            break
        answer = inner
    return answer


def _texts(answer: dict[str, Json]) -> Iterator[str]:
    """Yields the strings and whole numbers in it as lower-case words: InvalidToken and invalid_token are two words."""
    waiting: list[Json] = [answer]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str | int) and not isinstance(value, bool):
            spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\s-]+", " ", str(value)[:_LONGEST_TEXT])
            yield spaced.lower()


def _word(value: Json) -> str:
    """Returns a scalar as one lower-case word; empty for null, objects and lists."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower() if isinstance(value, str | int | float) else ""


def _plain(key: str) -> str:
    return re.sub(r"[\W_]+", "", _PREFIX.sub("", key)).lower()
