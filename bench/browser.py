"""How a browser loads a dashboard: the page, then every panel, six connections at a time, looking again when told to.

`python -m bench.browser`, as a process of its own.
"""

import http.client
import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CONNECTIONS = 6  # of a browser to one host, HTTP/1.1
_PANEL = re.compile(r'hx-get="([^"]+/panels/[^"]+)"\s+hx-trigger="load"')
_AGAIN = re.compile(r'hx-get="[^"]+/panels/[^"]+"\s+hx-trigger="load delay:(\d+)(m?)s"')


def main(*, port: int, path: str, headers: dict[str, str]) -> dict[str, float]:
    """Milliseconds until the page was there, and until the last panel was; how many panels, in how many requests."""
    slots = threading.Semaphore(CONNECTIONS)
    headers_of_part = headers | {"HX-Request": "true"}

    def load(address: str) -> int:
        requests = 0
        told = re.match("()()", "")
        while told:
            time.sleep(int(told[1] or 0) / (1000 if told[2] else 1))
            with slots:
                part = fetch(port, address, headers_of_part)
            requests += 1
            told = _AGAIN.search(part)
        return requests

    began = time.perf_counter()
    page = fetch(port, path, headers)
    page_after = time.perf_counter() - began
    panels = _PANEL.findall(page)
    if not panels:
        raise RuntimeError("The page has no panels.")
    with ThreadPoolExecutor(len(panels)) as browser:
        requests = sum(browser.map(load, panels))
    seconds = time.perf_counter() - began
    return {"page": 1000 * page_after, "all": 1000 * seconds, "panels": len(panels), "requests": requests}


def fetch(port: int, path: str, headers: dict[str, str]) -> str:
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
    job: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(main(**job)))
