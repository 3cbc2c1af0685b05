"""Reports of unhandled exceptions without values: a mail to the operator, and Django's debug page.

Django's own reports show local variables, POST data, cookies and settings. While a token is sealed or sent, it is a
local variable of ours, of cryptography's and of urllib3's, so the values of no frame are shown.
"""

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter
from structlog.contextvars import get_contextvars

from connectapp.redaction import redact

logger = logging.getLogger(__name__)


class WithoutValuesFilter(SafeExceptionReporterFilter):
    """Lets Django's debug page show lines of code, and names of cookies and POST fields, but no values."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_safe_settings(self) -> dict[str, Any]:
        return {}  # URLs of databases, caches and mail servers hold passwords

    def get_safe_cookies(self, request: HttpRequest | None) -> dict[str, Any]:
        return dict.fromkeys(getattr(request, "COOKIES", {}), self.cleansed_substitute)

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        return dict.fromkeys(request.POST, self.cleansed_substitute) if request is not None else {}

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> Any:
        return {}.items()


class OperatorMailHandler(logging.Handler):
    """Mails unhandled exceptions of requests to OPERATOR_EMAIL, at most LIMIT in PERIOD seconds from each process.

    For the logger "django.request". The response to the visitor does not wait for the mail server.
    """

    LIMIT, PERIOD = 3, 60.0

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._recent: deque[float] = deque(maxlen=self.LIMIT)
        self._left_out = 0
        self._sending: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        crash = record.exc_info[1] if record.exc_info else None
        if crash is None:
            return  # a view returned 5xx itself
        now = time.monotonic()
        if len(self._recent) == self._recent.maxlen and now - self._recent[0] < self.PERIOD:
            self._left_out += 1
            return
        self._recent.append(now)
        left_out, self._left_out = self._left_out, 0
        mail = _mail(crash, getattr(record, "request", None), left_out)
        self._sending = threading.Thread(target=_send, args=[mail], name="crash-mail", daemon=True)
        self._sending.start()

    def flush(self) -> None:
        """Waits until the last mail has been handed over."""
        if self._sending is not None:
            self._sending.join()


def traceback_without_values(crash: BaseException) -> str:
    """The traceback with its causes: types of exceptions and lines of code, no messages."""
    parts = []
    for exception in _with_causes(crash):
        parts.append("".join(traceback.format_tb(exception.__traceback__)) + type(exception).__qualname__ + "\n")
    return "\n".join(reversed(parts))


def _with_causes(crash: BaseException) -> Iterator[BaseException]:
    exception: BaseException | None = crash
    seen: set[int] = set()
    while exception is not None and id(exception) not in seen:
        seen.add(id(exception))
        yield exception
        hidden = exception.__suppress_context__
        exception = exception.__cause__ or (None if hidden else exception.__context__)


def _mail(crash: BaseException, request: HttpRequest | None, left_out: int) -> EmailMessage:
    match = getattr(request, "resolver_match", None)
    view = match.view_name or match._func_path if match else "no view"
    what = type(crash).__qualname__
    lines = [f"{what} in {view}"]
    if request is not None:
        lines.append(f"{request.method} {redact(request.path)}")
    if number := get_contextvars().get("request_id"):
        lines.append(f"Request {number}")
    if left_out:
        lines.append(f"{left_out} more crashes since the last of these mails are in the log only.")
    lines += ["", "The visitor was shown an error page. Values and messages are left out: they may hold secrets.", ""]
    return EmailMessage(
        f"[{settings.APP_NAME}] {what} in {view}",
        "\n".join(lines) + "\n" + traceback_without_values(crash),
        settings.SERVER_EMAIL,
        [settings.OPERATOR_EMAIL],
    )


def _send(mail: EmailMessage) -> None:
    try:
        mail.send()
    except OSError as problem:  # the base class of smtplib's errors
        logger.warning("A crash could not be mailed to the operator (%s).", type(problem).__name__)
