"""A plugin for pytest that leaves in its cache how the tests of a run ended (`-p tests.support.outcomes`)."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

_KEY = "suite/outcomes"


@dataclass
class Outcomes:
    """red: tests that failed, themselves or their setup. passed: those whose own part passed.

    elsewhere: a teardown failed, which may be about other tests than the one it is reported for, or the run was ended.
    """

    red: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    elsewhere: bool = False

    @property
    def may_be_tried_again(self) -> list[str]:
        return [] if self.elsewhere else self.red


def read(cache: Path) -> Outcomes:
    """Of the last run with this cache; empty for one that did not come to its end."""
    try:
        return Outcomes(**json.loads((cache / "v" / _KEY).read_bytes()))
    except FileNotFoundError:
        return Outcomes()


_now = Outcomes()


def pytest_sessionstart(session: pytest.Session) -> None:
    assert session.config.cache is not None
    session.config.cache.set(_KEY, asdict(Outcomes(elsewhere=True)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and report.when == "teardown":
        _now.elsewhere = True
    elif report.failed:
        _now.red.append(report.nodeid)
    elif report.passed and report.when == "call":
        _now.passed.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    assert session.config.cache is not None
    _now.elsewhere |= bool(session.shouldfail or session.shouldstop)
    session.config.cache.set(_KEY, asdict(_now))
