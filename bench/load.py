"""A load generator, as a process of its own: `python -m bench.load` reads a job as JSON and prints what it has seen.

Raw sockets that are kept alive, and one loop for all of them: it must never be what a measurement is limited by.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from bench.rounds import quantiles

# Stands in a request where every one gets a number of its own, of this many digits.
NUMBER = "1000000000"


@dataclass
class Connection:
    """One connection, and what has come of the answer that it waits for."""

    socket: socket.socket
    asked_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def ask(self, request: bytes, at: float) -> None:
        """`at`: the moment from which the answer's time is counted."""
        self.received.clear()
        self.asked_at = at
        self.socket.sendall(request)

    def status(self) -> int | None:
        """Reads what is there; the status once the whole answer has come. Raises ConnectionError."""
        more = self.socket.recv(1 << 18)
        if not more:
            raise ConnectionError
        self.received += more
        head, ended, body = bytes(self.received).partition(b"\r\n\r\n")
        if not ended:
            return None
        lines = head.lower().split(b"\r\n")
        if b"transfer-encoding: chunked" in lines:
            whole = body.endswith(b"0\r\n\r\n")
        else:
            length = next((line for line in lines if line.startswith(b"content-length:")), b": 0")
            whole = len(body) >= int(length.partition(b":")[2])
        return int(lines[0].split()[1]) if whole else None


class Run:
    """`request` is sent over so many connections for so many seconds, as fast as it is answered.

    With a `rate` (per second), at that rate instead, and an answer's time counts from when its request was due.
    """

    def __init__(self, *, port: int, request: str, connections: int, seconds: float, rate: float = 0) -> None:
        self._before, self._numbered, self._after = request.encode().partition(NUMBER.encode())
        self._number = int(NUMBER) + time.time_ns() // 1_000_000 % 1_000_000_000
        self._selector = selectors.DefaultSelector()
        self._idle: deque[Connection] = deque()
        for _ in range(connections):
            made = socket.create_connection(("127.0.0.1", port), timeout=60)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._idle.append(Connection(made))
            self._selector.register(made, selectors.EVENT_READ, self._idle[-1])
        self._seconds, self._rate = seconds, rate
        self._times: list[float] = []
        self._statuses: Counter[int] = Counter()

    def run(self) -> dict[str, Any]:
        began = time.perf_counter()
        if self._rate:
            self._at_a_rate(began)
        else:
            self._as_fast_as_answered(began)
        took = time.perf_counter() - began
        return {**quantiles(self._times, took), "statuses": self._statuses}

    def _as_fast_as_answered(self, began: float) -> None:
        while self._idle:
            self._idle.pop().ask(self._next(), time.perf_counter())
        waiting = len(self._selector.get_map())
        while waiting:
            for connection in self._answered(60):
                now = time.perf_counter()
                if now - began < self._seconds:
                    connection.ask(self._next(), now)
                else:
                    waiting -= 1

    def _at_a_rate(self, began: float) -> None:
        due = began
        busy = 0
        while due < began + self._seconds or busy:
            now = time.perf_counter()
            while due <= now and due < began + self._seconds and self._idle:
                self._idle.popleft().ask(self._next(), due)
                busy += 1
                due += 1 / self._rate
            wait = max(due - now, 0) if self._idle and due < began + self._seconds else 60
            for connection in self._answered(wait):
                self._idle.append(connection)
                busy -= 1

    def _answered(self, wait: float) -> list[Connection]:
        """Those whose answers have come, noted down."""
        done = []
        for key, _ in self._selector.select(wait):
            status = key.data.status()
            if status is not None:
                self._times.append(time.perf_counter() - key.data.asked_at)
                self._statuses[status] += 1
                done.append(key.data)
        return done

    def _next(self) -> bytes:
        if not self._numbered:
            return self._before
        self._number += 1
        return self._before + str(self._number).encode() + self._after


if __name__ == "__main__":
    print(json.dumps(Run(**json.load(sys.stdin)).run()))
