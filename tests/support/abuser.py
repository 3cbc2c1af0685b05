"""A stranger with a machine of their own: posts 60 KiB to webhook addresses, 50 times a second.

`python -m tests.support.abuser`: its input is the addresses, a line each, then an empty line; it posts until the input
ends, and prints how often it posted and how much of that was acknowledged. A third of it cannot be read.
"""

import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

PER_SECOND, BODY = 50, 60 * 1024
SECONDS = 60  # that an answer may take


class Abuser:
    """Posts in a process of its own until the end of the `with` block: the sender that is measured shares no lock."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.sent = self.acknowledged = 0
        self._addresses = addresses

    def __enter__(self) -> "Abuser":
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        self._process.stdin.write("\n".join([*self._addresses, "", ""]))
        self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        printed, _errors = self._process.communicate()
        assert self._process.returncode == 0
        self.sent, self.acknowledged = map(int, printed.split())


class _Poster(threading.local):
    """One connection of each thread."""

    def __init__(self, netloc: str) -> None:
        self._connection = http.client.HTTPConnection(netloc, timeout=SECONDS)

    def post(self, path: str, body: bytes, content_type: str) -> bool:
        """Whether it was acknowledged."""
        try:
            self._connection.request("POST", path, body, {"Content-Type": content_type})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False
        return answer.status == http.HTTPStatus.OK


def body_of(number: int) -> tuple[bytes, str]:
    if number % 3 == 0:
        return b"x" * BODY, "text/plain"
    body = {"sType": f"Abuse_{number}", "iInspectionID": 1, "iCompanyID": 424242 + number % 2, "more": "x" * BODY}
    return json.dumps(body).encode(), "application/json"


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main() -> None:
    addresses = [urlsplit(line) for line in iter(lambda: sys.stdin.readline().strip(), "")]
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=[ended], daemon=True).start()
    poster = _Poster(addresses[0].netloc)
    waiting: list[Future[bool]] = []
    acknowledged = 0
    begun = time.monotonic()
    with ThreadPoolExecutor(9) as pool:
        for number in itertools.count():
            if ended.wait(max(0.0, begun + number / PER_SECOND - time.monotonic())):
                break
            waiting.append(pool.submit(poster.post, addresses[number % len(addresses)].path, *body_of(number)))
            if len(waiting) > PER_SECOND:
                acknowledged += waiting.pop(0).result()
    print(number, acknowledged + sum(job.result() for job in waiting))


if __name__ == "__main__":
    main()
