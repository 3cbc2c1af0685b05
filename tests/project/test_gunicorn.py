"""How gunicorn.conf.py reads the environment."""

import runpy

import pytest

from tests.support.running_app import ROOT


@pytest.mark.parametrize(
    ("host", "bind"),
    [("127.0.0.1", "127.0.0.1:8000"), ("0.0.0.0", "0.0.0.0:8000"), ("::1", "[::1]:8000"), ("::", "[::]:8000")],
)
def test_BIND_takes_addresses_of_both_kinds(monkeypatch: pytest.MonkeyPatch, host: str, bind: str) -> None:
    monkeypatch.setenv("BIND", host)
    monkeypatch.delenv("PORT", raising=False)
    assert runpy.run_path(str(ROOT / "gunicorn.conf.py"))["bind"] == bind
