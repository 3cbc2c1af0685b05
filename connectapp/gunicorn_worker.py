"""gunicorn's worker with threads, and a page for whoever comes with an address that is too long."""

import time
from contextlib import suppress
from socket import SHUT_WR, socket
from typing import Any

from gunicorn.http.errors import LimitRequestLine
from gunicorn.workers.gthread import ThreadWorker

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
    """Answers a request line beyond `limit_request_line` with a page; gunicorn's own says a number and nothing else."""

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
