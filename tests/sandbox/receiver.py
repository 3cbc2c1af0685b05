"""A receiver of webhooks: a real HTTP server that keeps the requests and answers with the statuses it is given."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .client import DEADLINE


@dataclass(frozen=True)
class Received:
    path: str
    headers: Message
    body: bytes

    @property
    def payload(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """`statuses`: of the next answers; 200 when there are none left. `gate`: requests wait here for their answer."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}/hooks/secret-part/"
        self.gate = threading.Event()
        self.gate.set()
        self.statuses: list[int] = []
        self._changed = threading.Condition()
        self._received: list[Received] = []

    def accept(self, received: Received) -> int:
        """The status to answer with."""
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
            status = self.statuses.pop(0) if self.statuses else 200
        self.gate.wait(DEADLINE)
        return status

    def wait_for(self, count: int) -> list[Received]:
        """The requests so far, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._received) >= count, DEADLINE), self._received
            return list(self._received)

    @property
    def received(self) -> list[Received]:
        return self.wait_for(0)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        timeout = DEADLINE

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.accept(Received(self.path, self.headers, body))
            try:
                self.send_response(status)
                self.send_header("Location", f"{receiver.origin}/elsewhere/")
                self.send_header("Content-Length", "0")
                self.end_headers()
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with the default of 5, the system drops some of many connections at once

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.gate.set()
            server.shutdown()
            thread.join()
