"""A load generator: `python -m bench.load_generator` reads a job as JSON and prints what it measured.

A process of its own with one loop over raw keep-alive sockets, so that it never limits what is measured.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from bench.rounds import throughput

# Every request gets another number of this length in its place.
NUMBER = "1000000000"


@dataclass
class Connection:
    """One keep-alive connection with at most one request at a time."""

    socket: socket.socket
    started_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def send(self, request: bytes, started_at: float) -> None:
        """`started_at`: the moment from which the answer's time is counted."""
        self.received.clear()
        self.started_at = started_at
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Reads what has arrived; returns the status once the answer is complete. Raises ConnectionError."""
        more = self.socket.recv(1 << 18)
        if not more:
            raise ConnectionError
        self.received += more
        head, separator, body = bytes(self.received).partition(b"\r\n\r\n")
        if not separator:
            return None
        lines = head.lower().split(b"\r\n")
        if b"transfer-encoding: chunked" in lines:
            complete = body.endswith(b"0\r\n\r\n")
        else:
            length = next((line for line in lines if line.startswith(b"content-length:")), b": 0")
            complete = len(body) >= int(length.partition(b":")[2])
        return int(lines[0].split()[1]) if complete else None


class Run:
    """Sends `request` over so many connections for so many seconds, the next one as soon as an answer has arrived.

    With a `rate` (per second) requests are sent at that rate instead, and an answer's time counts from when its request
    was due. `durations`: the seconds until each answer.
    """

    def __init__(self, *, port: int, request: str, connections: int, seconds: float, rate: float = 0) -> None:
        self._before, self._numbered, self._after = request.encode().partition(NUMBER.encode())
        self._number = int(NUMBER) + time.time_ns() // 1_000_000 % 1_000_000_000
        self._selector = selectors.DefaultSelector()
        self._idle: deque[Connection] = deque()
        for _ in range(connections):
            opened = socket.create_connection(("127.0.0.1", port), timeout=60)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._idle.append(Connection(opened))
            self._selector.register(opened, selectors.EVENT_READ, self._idle[-1])
        self._seconds, self._rate = seconds, rate
        self.durations: list[float] = []
        self._statuses: Counter[int] = Counter()

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            if self._rate:
                self._at_rate(started)
            else:
                self._as_fast_as_answered(started)
        finally:
            for key in list(self._selector.get_map().values()):
                key.data.socket.close()
            self._selector.close()
        return {**throughput(self.durations, time.perf_counter() - started), "statuses": self._statuses}

    def _as_fast_as_answered(self, started: float) -> None:
        while self._idle:
            self._idle.pop().send(self._next_request(), time.perf_counter())
        busy = len(self._selector.get_map())
        while busy:
            for connection in self._completed(60):
                now = time.perf_counter()
                if now - started < self._seconds:
                    connection.send(self._next_request(), now)
                else:
                    busy -= 1

    def _at_rate(self, started: float) -> None:
        due, end = started, started + self._seconds
        busy = 0
        while due < end or busy:
            now = time.perf_counter()
            while due <= now and due < end and self._idle:
                self._idle.popleft().send(self._next_request(), due)
                busy += 1
                due += 1 / self._rate
            wait = max(due - now, 0) if self._idle and due < end else 60
            for connection in self._completed(wait):
                self._idle.append(connection)
                busy -= 1

    def _completed(self, wait: float) -> list[Connection]:
        """Waits up to so many seconds; records the complete answers and returns their connections."""
        completed = []
        for key, _ in self._selector.select(wait):
            status = key.data.receive()
            if status is not None:
                self.durations.append(time.perf_counter() - key.data.started_at)
                self._statuses[status] += 1
                completed.append(key.data)
        return completed

    def _next_request(self) -> bytes:
        if not self._numbered:
            return self._before
        self._number += 1
        return self._before + str(self._number).encode() + self._after


if __name__ == "__main__":
    print(json.dumps(Run(**json.load(sys.stdin)).run()))
