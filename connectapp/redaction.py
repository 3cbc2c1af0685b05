"""Keeps the tokens in our callback's URL out of logs, reports and redirects.

SnapInspect sends the browser back with both tokens in the query string. Django logs request lines, reports `META` and
repeats queries in redirects; gunicorn logs them on a worker time-out. So a WSGI wrapper moves the query out of the
environment before any of them sees the request, and every log line passes a formatter that masks secrets.
"""

import logging
import re
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote

from django.conf import settings
from gunicorn.glogging import Logger as GunicornLogger
from structlog.contextvars import merge_contextvars
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name

CALLBACK_QUERY = "connectapp.callback_query"
_TOKEN_NAMES = ("access_token", "refresh_token")


class HiddenQuery:
    """A query string that neither str() nor repr() shows."""

    __slots__ = ("_query",)

    def __init__(self, query: str) -> None:
        self._query = query

    def reveal(self) -> str:
        """The raw query string, as the browser sent it."""
        return self._query

    def __repr__(self) -> str:
        return "<HiddenQuery>"


class HideTokenQueries:
    """WSGI wrapper that moves the query to CALLBACK_QUERY where it may hold tokens.

    That is at the callback's path, and at any path whose query names a token (a mistyped redirect URI). The Referer
    always loses its query: the previous page may have had tokens in its URL.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        if environ.get("PATH_INFO", "").startswith("/connect/") or _names_a_token(query):
            environ[CALLBACK_QUERY] = HiddenQuery(query)
            environ["QUERY_STRING"] = ""
            for name in ("RAW_URI", "REQUEST_URI"):
                if name in environ:
                    environ[name] = environ[name].partition("?")[0]
        if "HTTP_REFERER" in environ:
            environ["HTTP_REFERER"] = environ["HTTP_REFERER"].partition("?")[0]
        return self._application(environ, start_response)


def _names_a_token(query: str) -> bool:
    # Unquoted twice: a `next=` may hold an encoded callback URL.
    plain = unquote(unquote(query)).lower()
    return any(name in plain for name in _TOKEN_NAMES)


# Quotes and separators as they are, behind the backslashes of JSON in JSON, as character references, and
# percent-encoded any number of times.
_QUOTE = r"(?:\\*[\"']|(?:%(?:25)*5C)*%(?:25)*2[27]|&quot;|&#(?:34|39|x2[27]);)?"
_SPACE = r"(?:\s|%(?:25)*20)*"
_UNDERSCORE = r"(?:_|%(?:25)*5F)"
_MASKS = (
    # name=value and "name": "value"
    (
        re.compile(
            rf"((?:(?:access|refresh){_UNDERSCORE}token|client{_UNDERSCORE}secret|password|[?&]state)"
            rf"{_QUOTE}{_SPACE}(?:[=:]|%(?:25)*3[AD]){_SPACE}{_QUOTE})"
            r"(?:[^\s&\"'<>\\]|\\+[^\s\"'\\])+",
            re.IGNORECASE,
        ),
        r"\1[redacted]",
    ),
    (re.compile(r"(Bearer\s+)[^\s\"',}]+", re.IGNORECASE), r"\1[redacted]"),
    # API keys: the first part names the key, the rest is the secret
    (re.compile(r"(cok_[a-z0-9]{1,16}_)[A-Za-z0-9_-]+"), r"\1[redacted]"),
    # secrets in the path: webhook addresses, links in mails, links for colleagues
    (re.compile(r"(/webhooks/snapinspect/)[^/\s?\"']+"), r"\1[redacted]"),
    (re.compile(r"(/connect/(?:links|sessions)/)[^/\s?\"']+"), r"\1[redacted]"),
    (
        re.compile(r"(/accounts/(?:confirm-email|password/reset/key|invitations|notifications/stop)/)[^/\s?\"']+"),
        r"\1[redacted]",
    ),
)


def redact(text: str) -> str:
    """The text with everything that looks like a secret masked."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


class RedactingFormatter(ProcessorFormatter):
    """Formats a log line, then masks it: message, arguments and traceback alike.

    `as_json`: an object with timestamp, level, logger, event and the request's number; otherwise a line to read.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        rendered: list[Any] = [format_exc_info, JSONRenderer()] if as_json else [_as_text]
        super().__init__(
            foreign_pre_chain=[
                merge_contextvars,
                add_log_level,
                add_logger_name,
                TimeStamper(fmt="iso", utc=True),
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *rendered],
        )

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _as_text(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    event = format_exc_info(logger, method, event)
    request_id = f" [{event['request_id']}]" if "request_id" in event else ""
    trace = f"\n{event['exception']}" if "exception" in event else ""
    return f"{event['timestamp']} {event['level'].upper()} {event['logger']}{request_id} {event['event']}{trace}"


class RedactingGunicornLogger(GunicornLogger):
    """gunicorn's logger with our formatter: its error log has request lines when a worker times out."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)  # type: ignore[no-untyped-call]
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                handler.setFormatter(RedactingFormatter(as_json=settings.LOG_FORMAT == "json"))
