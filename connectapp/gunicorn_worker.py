"""gunicorn's worker with threads, where calls of the proxy wait without one; and a page for too long an address."""

import re
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from socket import MSG_DONTWAIT, MSG_PEEK, SHUT_WR, socket
from types import FrameType
from typing import Any

from gunicorn.http.errors import LimitRequestLine
from gunicorn.workers.base import Worker as Base
from gunicorn.workers.gthread import TConn, ThreadWorker

from integrations.calls import limits

# What limits.py gives slots for: calls of this connection.
_PROXY = re.compile(r"/api/v1/connections/([a-z0-9]{1,16})/proxy/")
# Seconds for one read of a body, and for one write of an answer, while a slot is held.
CLIENT_SECONDS = 20.0
# What is read of the rest of a request that was answered already, and for how long.
MOST_BYTES = 1024 * 1024
MOST_SECONDS = 1.0
_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>This address is too long</title>
<h1>This address is too long</h1>
<p>It is longer than this app can read, so nothing was changed.</p>
<p>If SnapInspect sent you here, <a href="/">go to your dashboard</a> and start again. If it happens again, tell the
people who run this app.</p>
</html>
"""
_ANSWER = (
    b"HTTP/1.1 414 URI Too Long\r\n"
    b"Connection: close\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Content-Security-Policy: default-src 'none'\r\n"
    b"Cache-Control: no-store\r\n"
    b"Referrer-Policy: no-referrer\r\n"
    b"X-Content-Type-Options: nosniff\r\n\r\n%s" % (len(_PAGE), _PAGE)
)


class Worker(ThreadWorker):
    """Holds no thread for a call of the proxy that has to wait for its slot (`limits`).

    Answers a request line beyond `limit_request_line` with a page; gunicorn's own says a number and nothing else.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        # What a thread has read and not begun: the code and the request.
        self._put_aside: dict[TConn, tuple[str, Any]] = {}
        # Oldest first, with those that were resumed meanwhile: until when (time.monotonic), and what to do then.
        self._waiting: deque[tuple[float, limits.Waiting, Callable[[], None]]] = deque()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT or SIGQUIT: takes no more requests, and ends with those that it has begun.

        gunicorn's own takes the pool's lock, which this thread may hold already: it hands over a request, or runs this
        same handler, since Ctrl-C sends SIGINT to all processes and gunicorn's first process SIGQUIT to the others.
        The pool ends when the interpreter does.
        """
        Base.handle_quit(self, sig, frame)  # type: ignore[no-untyped-call]

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """In a thread of the pool: answers, or puts the request aside."""
        found = _PROXY.match(req.path)
        if found is None:
            return bool(super().handle_request(req, conn))  # type: ignore[no-untyped-call]
        try:
            slot = limits.calls.take(found[1])
        except limits.Busy:
            self._put_aside[conn] = found[1], req
            # This does not close the connection, see `finish_request`.
            return False
        return self._call(req, conn, slot)

    def finish_request(self, conn: TConn, fs: "Future[bool]") -> None:
        """In the main thread, after `handle_request`: from here on another thread may resume the request."""
        code, req = self._put_aside.pop(conn, ("", None))
        if not code:
            super().finish_request(conn, fs)  # type: ignore[no-untyped-call]
            return
        waiting = limits.Waiting(code, partial(self._submit, conn, req))
        without_slot = partial(self._submit, conn, req, None)
        if limits.calls.wait(waiting):
            self._waiting.append((time.monotonic() + limits.MAX_WAIT, waiting, without_slot))
        else:
            without_slot()

    def murder_pending(self) -> None:
        """In the main thread, every second: who has waited too long is answered without a slot."""
        super().murder_pending()  # type: ignore[no-untyped-call]
        while self._waiting and self._waiting[0][0] < time.monotonic():
            _, waiting, without_slot = self._waiting.popleft()
            if limits.calls.stop_waiting(waiting):
                without_slot()

    def _submit(self, conn: TConn, req: Any, slot: limits.Slot | None) -> None:
        """Has the pool answer this request, with or without a slot."""

        def finished(future: "Future[bool]") -> None:
            self.method_queue.defer(self.finish_request, conn, future)  # type: ignore[no-untyped-call]

        assert self.tpool is not None
        # RuntimeError: this process ends, and does not wait for its requests any longer.
        with suppress(RuntimeError):
            self.tpool.submit(self._resumed, conn, req, slot).add_done_callback(finished)

    def _resumed(self, conn: TConn, req: Any, slot: limits.Slot | None) -> bool:
        """As gunicorn goes on with a request that it has just read."""
        try:
            if slot is None:
                answered = bool(super().handle_request(req, conn))  # type: ignore[no-untyped-call]
            elif _has_left(conn.sock):
                answered = False
                slot.release()
            else:
                answered = self._call(req, conn, slot)
            return bool(self._keepalive_after(conn, answered))  # type: ignore[no-untyped-call]
        except (StopIteration, OSError):
            return False  # the client is gone, or its answer was cut off
        except Exception as problem:
            self.handle_error(req, conn.sock, conn.client, problem)
            return False

    def _call(self, req: Any, conn: TConn, slot: limits.Slot) -> bool:
        with limits.holding(slot):
            conn.sock.settimeout(CLIENT_SECONDS)
            return bool(super().handle_request(req, conn))  # type: ignore[no-untyped-call]

    def handle_error(self, req: Any, client: socket, addr: Any, exc: BaseException) -> None:
        if not isinstance(exc, LimitRequestLine):
            super().handle_error(req, client, addr, exc)  # type: ignore[no-untyped-call]
            return
        self.log.warning("A request line was too long.")
        give_up = time.monotonic() + MOST_SECONDS
        with suppress(OSError):
            client.settimeout(MOST_SECONDS)
            client.sendall(_ANSWER)
            client.shutdown(SHUT_WR)
            # Closed with unread bytes, TCP would reset the connection before the browser has read the page.
            unread = MOST_BYTES
            while unread > 0 and time.monotonic() < give_up and (rest := client.recv(64 * 1024)):
                unread -= len(rest)


def _has_left(client: socket) -> bool:
    """Whether the client has closed the connection, and sent no body."""
    try:
        return client.recv(1, MSG_PEEK | MSG_DONTWAIT) == b""
    except (BlockingIOError, ValueError):
        return False  # or it is TLS of gunicorn's own, which cannot be asked
