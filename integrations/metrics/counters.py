"""Counters of each process: API calls, exchanges, attempts at events, answers to webhooks.

Each process counts in small files below METRICS_DIR that it has mapped into memory: one that is killed loses nothing,
and any web process can tell the sum of all on its machine. Off, without a file, unless METRICS_TOKEN is set and
prometheus-client installed. Labels are words of ours: no token, customer or path is ever one. Counting raises nothing:
it happens between an exchange and the saving of its tokens.
"""

import fcntl
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from integrations.snapinspect.errors import SENTENCES

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram, values
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.openmetrics import exposition

    installed = True
except ImportError:  # an extra, see pyproject.toml
    installed = False

logger = logging.getLogger(__name__)

OUTCOMES = sorted({"ok", *SENTENCES} - {"outside_base", "insecure", "reported_failure", "no_account", "other_account"})
TRIES = ("done", "failed", "joined", "retrying", "unmatched")
WEBHOOKS = ("delivered", "no_answer", "refused")
DOOR = ("200", "400", "404", "405", "413", "503")
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
FILE_BYTES = 64 * 1024  # bytes of a file: several times what all our labels take


@dataclass(frozen=True)
class Gauge:
    """Something that is read when it is asked for. `values`: one for each word of `label`, or one under ""."""

    name: str
    help: str
    values: dict[str, float] = field(default_factory=dict)
    label: str = ""


def count_api_call(outcome: str, seconds: float) -> None:
    """Counts one request to SnapInspect's API: "ok" or a kind of error, and what it took."""

    def count(here: Meters) -> None:
        here.api_calls.labels(outcome).inc()
        here.api_seconds.observe(seconds)

    _count(count)


def count_exchange(outcome: str) -> None:
    """Counts one exchange that was sent, or tried to be: "ok" or a kind of error."""
    _count(lambda here: here.exchanges.labels(outcome).inc())


def count_event_attempts(outcome: str, times: int = 1) -> None:
    """Counts tries to process events, once they are committed: the state that they led to."""
    _count(lambda here: here.event_tries.labels(outcome).inc(times))


def count_webhook_answer(status: int) -> None:
    """Counts one answer to SnapInspect's server."""
    _count(lambda here: here.door_answers.labels(str(status)).inc())


def count_webhook(status: int | None, *, is_delivered: bool) -> None:
    """Counts one try to deliver to a webhook endpoint, once it is committed."""
    outcome = "delivered" if is_delivered else "no_answer" if status is None else "refused"
    _count(lambda here: here.webhooks.labels(outcome).inc())


def is_enabled() -> bool:
    """Whether anybody may ask, and there is something to answer with."""
    return installed and bool(settings.METRICS_TOKEN)


def text(gauges: Iterable[Gauge]) -> tuple[bytes, str]:
    """These gauges and what the processes of this machine have counted, as OpenMetrics text, and its content type."""
    here = _here()
    registry = CollectorRegistry()
    registry.register(_Families([*(here.counted() if here else []), *map(_family, gauges)]))
    written: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    return written, exposition.CONTENT_TYPE_LATEST


class Slot:
    """This process's files. Its number is held by a lock that the kernel gives back when the process dies.

    Whoever comes next takes a free one and counts on in it: so sums never go back, and there are never more files than
    there were processes at once. Not by process id: containers that share the folder have equal ones.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError: no folder, no room, no locks."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            lock = (folder / f"slot-{number}.lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            self.name = str(number)
            self._lock = lock  # as long as the process lives
            break
        for kind in ("counter", "histogram"):
            _reserve_file(folder / f"{kind}_{self.name}.db")


def _reserve_file(path: Path) -> None:
    """A file that can be counted in, with all its bytes on disk: to write into a hole of a full disk is a SIGBUS."""
    if path.exists() and path.stat().st_size >= FILE_BYTES and _is_readable(path):
        return
    try:
        path.write_bytes(bytes(FILE_BYTES))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _is_readable(path: Path) -> bool:
    """Not after a power loss at the wrong moment, perhaps. It begins with how many of its bytes are in use."""
    with path.open("rb") as file:
        used = int.from_bytes(file.read(4), sys.byteorder, signed=True)
    if not 0 <= used <= path.stat().st_size:
        return False
    try:
        MultiProcessCollector.merge([str(path)])  # type: ignore[no-untyped-call]
    except Exception:
        return False
    return True


class Meters:
    """What this process counts with. Every word exists from the start: an increase from nothing is not seen as one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slot = slot = Slot(folder)  # kept: with it would go its lock
        # Both are read by what is made below: prometheus-client has no other way to be told.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot.name)  # type: ignore[no-untyped-call]
        self.api_calls = _counter("connect_api_calls", "Requests to SnapInspect's API", "outcome", OUTCOMES)
        self.api_seconds = Histogram("connect_api_seconds", "What those requests took", buckets=SECONDS, registry=None)
        self.exchanges = _counter("connect_exchanges", "Exchanges of tokens", "outcome", OUTCOMES)
        self.event_tries = _counter("connect_event_tries", "Tries to process an event", "state", TRIES)
        self.webhooks = _counter("connect_webhooks", "Tries to deliver to endpoints", "outcome", WEBHOOKS)
        self.door_answers = _counter("connect_door_answers", "Answers to SnapInspect's deliveries", "status", DOOR)

    def counted(self) -> "Iterator[Metric]":
        """What every process of this machine has counted, those that have ended included."""
        files = [str(path) for path in sorted(self._folder.glob("*.db")) if _is_readable(path)]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


def _counter(name: str, text: str, label: str, words: Iterable[str]) -> "Counter":
    counter = Counter(name, text, [label], registry=None)
    for word in words:
        counter.labels(word)
    return counter


def _count(how: "Callable[[Meters], None]") -> None:
    try:
        if here := _here():
            how(here)
    except Exception:
        logger.exception("Something could not be counted.")


_running: dict[Path, Meters | None] = {}
_starting = threading.Lock()


def _here() -> Meters | None:
    """This process's meters, made on first use: not before a fork."""
    if not is_enabled():
        return None
    folder = Path(settings.METRICS_DIR)
    with _starting:
        if folder not in _running:
            try:
                _running[folder] = Meters(folder)
            except Exception as problem:
                logger.error("This process counts nothing: METRICS_DIR cannot be used (%s).", problem)
                _running[folder] = None
    return _running[folder]


def _family(gauge: Gauge) -> "GaugeMetricFamily":
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=[gauge.label] if gauge.label else [])
    for word, value in gauge.values.items():
        family.add_metric([word] if gauge.label else [], value)
    return family


class _Families:
    def __init__(self, families: "list[Metric]") -> None:
        self._families = families

    def collect(self) -> "list[Metric]":
        return self._families
