"""Loads a dashboard and its panels as a browser does: six connections at a time, polling where the page says so.

`python -m bench.page_load`.
"""

import http.client
import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

CONNECTIONS = 6  # of a browser to one host over HTTP/1.1
_PANEL = re.compile(r'hx-get="([^"]+/panels/[^"]+)"\s+hx-trigger="load"')
_RETRY = re.compile(r'hx-get="[^"]+/panels/[^"]+"\s+hx-trigger="load delay:(\d+)(m?)s"')


def main(*, port: int, path: str, headers: dict[str, str]) -> dict[str, float]:
    """Milliseconds until the page and until the last panel is loaded; the numbers of panels and of their requests."""
    slots = threading.Semaphore(CONNECTIONS)

    def load(address: str) -> int:
        for requests in range(1, 1000):
            with slots:
                panel = fetch(port, address, headers | {"HX-Request": "true"})
            retry = _RETRY.search(panel)
            if retry is None:
                return requests
            time.sleep(int(retry[1]) / (1000 if retry[2] else 1))
        raise RuntimeError(f"{address} never came to an end.")

    started = time.perf_counter()
    page = fetch(port, path, headers)
    page_seconds = time.perf_counter() - started
    panels = _PANEL.findall(page)
    if not panels:
        raise RuntimeError("The page has no panels.")
    with ThreadPoolExecutor(len(panels)) as pool:
        requests = sum(pool.map(load, panels))
    seconds = time.perf_counter() - started
    return {"page": 1000 * page_seconds, "all": 1000 * seconds, "panels": len(panels), "requests": requests}


def fetch(port: int, path: str, headers: dict[str, str]) -> str:
    """The body of the answer, which must be a 200. Opens a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}.")
    return body


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))
