"""Keeps what SnapInspect puts into our callback's address out of everything that writes addresses down.

The protocol returns the browser with both tokens in the query string. Django prints request lines, mails crash reports
with `META`, and repeats queries in redirects; gunicorn prints them on a worker time-out. So the query is moved out of
the environment *before* any of them sees the request, and every log line passes a formatter that masks what looks
like a secret, should one ever get that far.
"""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from gunicorn.glogging import Logger as GunicornLogger

CALLBACK_QUERY = "connectapp.callback_query"
_TOKEN_NAMES = ("access_token", "refresh_token")


class SealedQuery:
    """A query string that shows itself only to who asks for it by name: no repr, no str."""

    __slots__ = ("_query",)

    def __init__(self, query: str) -> None:
        self._query = query

    def reveal(self) -> str:
        """The raw query string, as the browser sent it."""
        return self._query

    def __repr__(self) -> str:
        return "<SealedQuery>"


class SealCallbackQuery:
    """WSGI wrapper: takes the query out of every request that carries tokens in it.

    That is the callback by its path, and any other path whose query names a token (a mistyped redirect URI).
    Referers lose their query always: the page before ours may have had tokens in its address.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        if environ.get("PATH_INFO", "").startswith("/connect/") or _names_a_token(query):
            environ[CALLBACK_QUERY] = SealedQuery(query)
            environ["QUERY_STRING"] = ""
            for name in ("RAW_URI", "REQUEST_URI"):
                if name in environ:
                    environ[name] = environ[name].partition("?")[0]
        if "HTTP_REFERER" in environ:
            environ["HTTP_REFERER"] = environ["HTTP_REFERER"].partition("?")[0]
        return self._application(environ, start_response)


def _names_a_token(query: str) -> bool:
    # Twice: a `next=` that holds an encoded callback address counts too.
    plain = unquote(unquote(query)).lower()
    return any(name in plain for name in _TOKEN_NAMES)


_MASKS = (
    # name=value and "name": "value", also inside an encoded address
    (
        re.compile(
            r"((?:access_token|refresh_token|client_secret|password|[?&]state)[\"']?\s*(?:=|%3D|%253D|:)\s*[\"']?)"
            r"[^\s&\"'<>]+",
            re.IGNORECASE,
        ),
        r"\1[redacted]",
    ),
    (re.compile(r"(Bearer\s+)[^\s\"',}]+", re.IGNORECASE), r"\1[redacted]"),
    # secrets that are a part of the path: webhook addresses, confirmation, reset and invitation links
    (re.compile(r"(/webhooks/snapinspect/)[^/\s?\"']+"), r"\1[redacted]"),
    (re.compile(r"(/accounts/(?:confirm-email|password/reset/key|invitations)/)[^/\s?\"']+"), r"\1[redacted]"),
)


def redact(text: str) -> str:
    """The text with everything that looks like a secret masked."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


class Formatter(logging.Formatter):
    """One line of log, masked after formatting: message, arguments and traceback alike."""

    def __init__(self, fmt: str | None = "%(asctime)s %(levelname)s %(name)s %(message)s", *args: Any) -> None:
        super().__init__(fmt, *args)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class RedactingGunicornLogger(GunicornLogger):
    """gunicorn's logger with our formatter: its error log prints request lines when a worker times out."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)  # type: ignore[no-untyped-call]
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
