"""What the API answers when it cannot do what was asked: problems as `application/problem+json` (RFC 9457)."""

from typing import Any

from django.http import HttpResponse, JsonResponse
from structlog.contextvars import get_contextvars

CONTENT_TYPE = "application/problem+json"
# The status and title of each kind. The kind is stable: clients decide by it.
KINDS = {
    "bad-request": (400, "The request cannot be read"),
    "key-in-url": (400, "A key stands in the address"),
    "unknown-key": (401, "The key is missing or not valid"),
    "https-required": (403, "This address is for https only"),
    "missing-scope": (403, "The key may not do this"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This address does not take this method"),
    "conflict": (409, "It does not fit what is there"),
    "length-required": (411, "The length of the body is missing"),
    "too-large": (413, "The body is too large"),
    "not-json": (415, "The body is not JSON"),
    "invalid": (422, "A value is not valid"),
    "too-many-requests": (429, "Too many requests"),
    "crashed": (500, "Something went wrong here"),
    "no-answer": (502, "SnapInspect gave no answer that can be passed on"),
    "unavailable": (503, "Not possible right now"),
    "timed-out": (504, "SnapInspect did not answer in time"),
}


# No answer of SnapInspect carries it. The proxy puts the kind of the failure there.
ERROR = "Connect-Error"


class Problem(Exception):
    """Ends a request. kind: a key of KINDS. detail: what happened, and what to do. members: others of the body."""

    def __init__(self, kind: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        self.members = members


def response(problem: Problem) -> HttpResponse:
    status, title = KINDS[problem.kind]
    body = {
        "type": f"urn:connect:problem:{problem.kind}",
        "title": title,
        "status": status,
        "detail": problem.detail,
        "request_id": get_contextvars().get("request_id", ""),
        **problem.members,
    }
    headers = {ERROR: problem.kind, **problem.headers}
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=headers)


NOT_FOUND = "Nothing with this code is here, or this key does not reach it. Compare the code and the key's customer."
