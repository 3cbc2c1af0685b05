"""An endpoint of the operator's: a server of its own thread that verifies webhooks and notes when they came."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A worker that was killed has broken its connection."""


class Endpoint:
    """`wait`: seconds before each answer. `secret`: of its signatures, once it is known."""

    def __init__(self, *, wait: float = 0) -> None:
        self.secret = ""
        self.times_seen: Counter[str] = Counter()  # by webhook-id
        self.refused = 0  # for their signature
        self.events: set[str] = set()  # by their raw type
        self.delays: list[float] = []  # seconds from the message's making to its first arrival
        self._lock = threading.Lock()
        over = threading.Event()
        seen = self._see

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # the worker was killed while it sent
                seen(body, dict(self.headers))
                over.wait(wait)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._over = over
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _see(self, body: bytes, headers: dict[str, str]) -> None:
        arrived = time.time()
        try:
            Webhook(self.secret).verify(body, {name.lower(): value for name, value in headers.items()})
        except WebhookVerificationError:
            self.refused += 1
            raise
        message: Any = json.loads(body)
        with self._lock:
            webhook_id = headers["webhook-id"]
            self.times_seen[webhook_id] += 1
            if self.times_seen[webhook_id] == 1:
                self.delays.append(arrived - datetime.fromisoformat(message["timestamp"]).timestamp())
                self.events.add(message["data"].get("raw_type", ""))


MAKE = """
import json, sys
from integrations.outgoing import endpoints
print(json.dumps([endpoints.create(url=url, types=["event.other"], customer=None, by=None)[1] for url in {urls!r}]))
"""


def register(manage: Callable[..., str], *urls: str) -> list[str]:
    """Makes endpoints of the deployment with these URLs; returns their secrets."""
    secrets: list[str] = json.loads(manage("shell", "-c", MAKE.format(urls=list(urls))).splitlines()[-1])
    return secrets
