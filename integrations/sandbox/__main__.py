"""`python -m integrations.sandbox`: the stand-in as a process of its own."""

import argparse
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence

from integrations.sandbox.server import serve
from integrations.sandbox.webhooks import is_acceptable

REQUIRED = ("SANDBOX_CLIENT_ID", "SANDBOX_CLIENT_SECRET", "SANDBOX_REDIRECT_URI", "SANDBOX_APP_NAME")
USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status, after SIGTERM or SIGINT has stopped the server.

    The registered application comes from the environment: every user of the machine can read a command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m integrations.sandbox",
        description="A stand-in for SnapInspect, for development and tests.",
        epilog=f"Environment: {', '.join(REQUIRED)}; optional: SANDBOX_TOKEN_PREFIX, SANDBOX_WEBHOOK_URL.",
    )
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--state-file", help="keep accounts, tokens and inspections in this SQLite file")
    options = parser.parse_args(arguments)

    for name in REQUIRED:
        if not os.environ.get(name):
            return fail(f"the environment variable {name} is not set", USAGE_ERROR)
    webhook_url = os.environ.get("SANDBOX_WEBHOOK_URL", "")
    if webhook_url and not is_acceptable(webhook_url):
        return fail("SANDBOX_WEBHOOK_URL must be https, or http on this machine", USAGE_ERROR)

    # Waited for, not handled: a handler that sets an event while the main thread takes its lock waits for ever.
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)
    try:
        sandbox = serve(
            client_id=os.environ["SANDBOX_CLIENT_ID"],
            client_secret=os.environ["SANDBOX_CLIENT_SECRET"],
            redirect_uri=os.environ["SANDBOX_REDIRECT_URI"],
            app_name=os.environ["SANDBOX_APP_NAME"],
            token_prefix=os.environ.get("SANDBOX_TOKEN_PREFIX", ""),
            webhook_url=webhook_url,
            state_file=options.state_file,
            port=options.port,
        )
    except OSError as error:
        return fail(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}", 1)
    except sqlite3.Error as error:
        return fail(f"cannot use the state file {options.state_file}: {error}", 1)
    with sandbox:
        print(f"SnapInspect stand-in on {sandbox.url}", flush=True)  # noqa: T201
        signal.sigwait(endings)
    return 0


def fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
