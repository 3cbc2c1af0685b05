"""What can go wrong between us and SnapInspect.

    SnapInspectError
    ├── Unreachable    no usable answer   dns connect tls timeout cut server_error too_many_requests
    ├── Refused        rejected           forbidden not_found refused redirect exchange_refused grant_refused
    ├── TokenRefused   401, or 2xx and a body that says the same
    │                                     token_refused
    ├── Garbled        not as documented  not_json not_text too_large wrong_shape reported_failure no_account
    │                                     other_account
    └── BadPath        the caller's URL would leave the API base, or is not secure
                                          outside_base insecure

The sentences are ours. Nothing that SnapInspect sent, no query and no token is part of an error: errors end up in logs,
task rows and mails.
"""

from typing import Final

SENTENCES: Final = {
    "dns": "We could not find SnapInspect's server.",
    "connect": "We could not connect to SnapInspect's server.",
    "tls": "SnapInspect's server could not prove who it is (TLS).",
    "timeout": "SnapInspect did not answer in time.",
    "cut": "The connection to SnapInspect broke before the response was complete.",
    "server_error": "SnapInspect reported an internal error.",
    "too_many_requests": "SnapInspect asked us to send fewer requests.",
    "forbidden": "SnapInspect does not allow this request.",
    "not_found": "SnapInspect does not know this address.",
    "refused": "SnapInspect refused this request.",
    "redirect": "SnapInspect redirected to another address. We do not follow redirects.",
    "token_refused": "SnapInspect did not accept the token.",
    "exchange_refused": "SnapInspect does not accept this app's client ID and secret.",
    "grant_refused": "SnapInspect no longer renews this access.",
    "not_json": "SnapInspect's answer is not JSON.",
    "not_text": "SnapInspect's answer is not readable text.",
    "too_large": "SnapInspect's answer is too large.",
    "wrong_shape": "SnapInspect's response is missing documented data.",
    "reported_failure": "SnapInspect responded with an error instead of data.",
    "no_account": "SnapInspect's response is not about this account.",
    "other_account": "SnapInspect's response is about another company.",
    "outside_base": "This path would leave SnapInspect's API address.",
    "insecure": "This address of SnapInspect is neither https nor an allowed loopback address.",
}


class SnapInspectError(Exception):
    """Any failure of a call to SnapInspect.

    kind: short stable name of the failure, for data and pages (a key of SENTENCES).
    status: HTTP status of the answer, None when there was none.
    retry_after: seconds SnapInspect asked to wait, None when it did not say.
    """

    def __init__(self, kind: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(SENTENCES[kind])
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


class Unreachable(SnapInspectError):
    """No usable answer: worth another try later.

    sent: False only when the request certainly was not sent (name lookup, TCP connect, TLS handshake failed). Otherwise
    an exchange may have happened.
    """

    def __init__(
        self, kind: str, *, status: int | None = None, retry_after: float | None = None, sent: bool = True
    ) -> None:
        super().__init__(kind, status=status, retry_after=retry_after)
        self.sent = sent


class Refused(SnapInspectError):
    """SnapInspect rejected the request; repeating it will not help."""


class TokenRefused(SnapInspectError):
    """401, or an answer with status 2xx that says so: this access token is not (or no longer) accepted."""


class Garbled(SnapInspectError):
    """An answer that is not as documented."""


class BadPath(SnapInspectError, ValueError):
    """The caller's path would leave the API base, or the address is not secure. Nothing was sent."""


def for_status(status: int, *, retry_after: float | None = None) -> SnapInspectError | None:
    """Returns the error for an HTTP status; None for 2xx. retry_after: seconds, from the answer's header."""
    if 200 <= status < 300:
        return None
    if status == 401:
        return TokenRefused("token_refused", status=status)
    if status == 429:
        return Unreachable("too_many_requests", status=status, retry_after=retry_after)
    if 500 <= status < 600:
        return Unreachable("server_error", status=status, retry_after=retry_after)
    if 300 <= status < 400:
        return Refused("redirect", status=status)
    if 400 <= status < 500:
        return Refused({403: "forbidden", 404: "not_found"}.get(status, "refused"), status=status)
    return Garbled("wrong_shape", status=status)
