"""How gunicorn.conf.py reads the environment, and how a web process ends."""

import os
import runpy
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from gunicorn.config import Config

from connectapp.gunicorn_worker import Worker
from tests.support.running_app import ROOT


@pytest.mark.parametrize(
    ("host", "bind"),
    [("127.0.0.1", "127.0.0.1:8000"), ("0.0.0.0", "0.0.0.0:8000"), ("::1", "[::1]:8000"), ("::", "[::]:8000")],
)
def test_BIND_takes_addresses_of_both_kinds(monkeypatch: pytest.MonkeyPatch, host: str, bind: str) -> None:
    monkeypatch.setenv("BIND", host)
    monkeypatch.delenv("PORT", raising=False)
    assert runpy.run_path(str(ROOT / "gunicorn.conf.py"))["bind"] == bind


def test_a_signal_ends_a_web_process_while_it_hands_over_a_request() -> None:
    worker = Worker(0, os.getpid(), [], None, 30, Config(), None)  # type: ignore[no-untyped-call]
    worker.tpool = worker.get_thread_pool()  # type: ignore[no-untyped-call]
    with ThreadPoolExecutor(1) as other, worker.tpool._shutdown_lock:
        ending = other.submit(worker.handle_quit, signal.SIGQUIT, None)
        assert isinstance(ending.exception(timeout=10), SystemExit)
    worker.tmp.close()  # type: ignore[no-untyped-call]
    worker.method_queue.close()  # type: ignore[no-untyped-call]
