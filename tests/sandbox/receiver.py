"""Where webhooks arrive: a real HTTP server that keeps what came and answers as it is told."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .remote import DEADLINE


@dataclass(frozen=True)
class Received:
    """One request. `whole`: whether as much of the body came as was announced."""

    path: str
    headers: Message
    body: bytes
    whole: bool

    @property
    def payload(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """`answer`: decides the status by the request. `gate`: requests wait here for their answer."""

    def __init__(self, port: int, scheme: str) -> None:
        self.origin = f"{scheme}://127.0.0.1:{port}"
        self.url = f"{self.origin}/hooks/secret-part/"
        self.gate = threading.Event()
        self.gate.set()
        self.answers: list[int] = []
        self.refused: set[int] = set()
        self.most_at_once = 0
        self._at_once = 0
        self._arrived = threading.Condition()
        self._received: list[Received] = []

    def accept(self, received: Received) -> int:
        """The status to answer with: the next of `answers`, 500 for a refused inspection, otherwise 200."""
        with self._arrived:
            self._received.append(received)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._arrived.notify_all()
            status = self.answers.pop(0) if self.answers else 200
        self.gate.wait(DEADLINE)
        with self._arrived:
            self._at_once -= 1
        if self.refused and received.payload["iInspectionID"] in self.refused:
            return 500
        return status

    def wait_for(self, count: int) -> list[Received]:
        """What came so far, which must become this many requests."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._received) >= count, DEADLINE), self._received
            return list(self._received)

    @property
    def received(self) -> list[Received]:
        with self._arrived:
            return list(self._received)

    @property
    def statuses(self) -> list[str]:
        """The statuses that the webhooks of changed inspections spoke of, in the order in which they came."""
        return [received.payload["sStatus"] for received in self.received]


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a free port; with a TLS context, for https."""

    class Handler(BaseHTTPRequestHandler):
        timeout = DEADLINE

        def do_POST(self) -> None:
            chunked = self.headers.get("Transfer-Encoding") == "chunked"
            body, whole = self.read_chunks() if chunked else self.read_announced()
            status = receiver.accept(Received(self.path, self.headers, body, whole))
            try:
                self.send_response(status)
                self.send_header("Location", f"{receiver.origin}/elsewhere/")
                self.send_header("Content-Length", "0")
                self.end_headers()
            except ConnectionError:
                self.close_connection = True

        def read_announced(self) -> tuple[bytes, bool]:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            return body, len(body) == length

        def read_chunks(self) -> tuple[bytes, bool]:
            body = b""
            while size := int(self.rfile.readline() or b"-1", 16):
                if size < 0:
                    return body, False
                body += self.rfile.read(size)
                self.rfile.readline()
            return body, True

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with the usual 5, the system drops some of many connections at once

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver = Receiver(server.server_port, "https" if context else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.gate.set()
            server.shutdown()
            thread.join()
