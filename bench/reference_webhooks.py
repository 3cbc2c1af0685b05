"""The reference point of webhooks that are sent: `python -m bench.reference_webhooks` prints how many a second.

A loop that signs each message and posts it over one kept connection. Nothing is read from a database or written.
"""

import json
import sys
import time
from datetime import UTC, datetime

import urllib3
from standardwebhooks import Webhook

SECRET = "whsec_dGhpcyBpcyBub3QgYSBzZWNyZXQsIGJ1dCBsb25nLi4="


def main(*, url: str, body: str, messages: int) -> dict[str, float]:
    with urllib3.PoolManager(retries=False) as pool:
        started = time.perf_counter()
        for number in range(messages):
            now, webhook_id = datetime.now(UTC), f"msg_{number:012}"
            headers = {
                "Content-Type": "application/json",
                "webhook-id": webhook_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Webhook(SECRET).sign(webhook_id, now, body),
            }
            answer = pool.request("POST", url, body=body.encode(), headers=headers, timeout=15)
            if answer.status != 200:
                raise RuntimeError(f"Answered with {answer.status}.")
    return {"per_second": messages / (time.perf_counter() - started)}


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))
