"""Runs commands of Python, each in a process forked from one that has imported the packages which read no settings.

`python -m tests.support.forked_commands`; `tests.support.startup` talks to it. It reads lines of JSON: the arguments of
`python`, the environment, and the files for what the command prints. It answers each with its exit status.
"""

import gc
import json
import os
import runpy
import sys
from multiprocessing import get_context

import cryptography.fernet  # noqa: F401
import django.core.management
import django.core.validators
import django.db.models
import django.http.request  # noqa: F401
import django_stubs_ext  # noqa: F401
import environ  # noqa: F401
import gunicorn.app.wsgiapp  # noqa: F401
import requests_oauthlib  # noqa: F401
import structlog  # noqa: F401
from django.conf import settings

TIMEOUT = 120.0  # seconds

assert not settings.configured, "each command reads its own settings"
assert not [name for name in sys.modules if name.partition(".")[0] in {"accounts", "connectapp", "integrations"}]


def run(command: list[str], environment: dict[str, str], output: str, errors: str) -> None:
    """Does what `python` does with these arguments, in the process that this one has become."""
    os.environ.clear()
    os.environ.update(environment)
    for number, path in [(1, output), (2, errors)]:
        os.dup2(os.open(path, os.O_WRONLY), number)
    match command:
        case ["-c", code]:
            exec(code, {"__name__": "__main__"})
        case ["-m", module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [path, *_]:
            sys.argv = command
            runpy.run_path(path, run_name="__main__")


def main() -> None:
    gc.freeze()  # what is there stays there, and shared
    for line in sys.stdin:
        process = get_context("fork").Process(target=run, kwargs=json.loads(line))
        process.start()
        process.join(TIMEOUT)
        process.kill()
        process.join()
        print(process.exitcode, flush=True)


if __name__ == "__main__":
    main()
