"""`python -m integrations.sandbox`: the stand-in as a process of its own."""

import argparse
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from integrations.sandbox.addresses import acceptable_webhook
from integrations.sandbox.server import serve

REQUIRED = ("SANDBOX_CLIENT_ID", "SANDBOX_CLIENT_SECRET", "SANDBOX_REDIRECT_URI", "SANDBOX_APP_NAME")
USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status, once SIGTERM or SIGINT has ended the server.

    The registered application comes from the environment and never from the command line, which every user of
    the machine can read.
    """
    parser = argparse.ArgumentParser(
        prog="python -m integrations.sandbox",
        description="A stand-in for SnapInspect, for development and tests.",
        epilog=f"Environment: {', '.join(REQUIRED)}; optional: SANDBOX_TOKEN_PREFIX, SANDBOX_WEBHOOK_URL.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--state-file", help="keep accounts, tokens and inspections in this SQLite file")
    parser.add_argument(
        "--mode",
        choices=("strict", "grace"),
        default="strict",
        help="grace: a refresh token that was just used is honoured once more (default: %(default)s)",
    )
    parser.add_argument(
        "--webhook-speed",
        type=float,
        default=1,
        metavar="TIMES",
        help="how much faster than real time webhooks are retried; 3600: an hour in a second (default: 1)",
    )
    options = parser.parse_args(arguments)
    if not 0 < options.webhook_speed < float("inf"):
        parser.error("--webhook-speed must be more than 0")

    for name in REQUIRED:
        if not os.environ.get(name):
            print(f"error: the environment variable {name} is not set", file=sys.stderr)  # noqa: T201
            return USAGE_ERROR
    webhook_url = os.environ.get("SANDBOX_WEBHOOK_URL", "")
    if webhook_url and not acceptable_webhook(webhook_url):
        print("error: SANDBOX_WEBHOOK_URL must be https, or http on this machine", file=sys.stderr)  # noqa: T201
        return USAGE_ERROR

    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        sandbox = serve(
            client_id=os.environ["SANDBOX_CLIENT_ID"],
            client_secret=os.environ["SANDBOX_CLIENT_SECRET"],
            redirect_uri=os.environ["SANDBOX_REDIRECT_URI"],
            app_name=os.environ["SANDBOX_APP_NAME"],
            token_prefix=os.environ.get("SANDBOX_TOKEN_PREFIX", ""),
            webhook_url=webhook_url,
            webhook_speed=options.webhook_speed,
            mode=options.mode,
            state_file=options.state_file,
            host=options.host,
            port=options.port,
        )
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    except sqlite3.Error as error:
        print(f"error: cannot use the state file {options.state_file}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    with sandbox:
        print(f"SnapInspect stand-in on {sandbox.url}", flush=True)  # noqa: T201
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
