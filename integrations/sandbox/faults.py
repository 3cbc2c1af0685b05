"""Misbehaviour on order: which requests it meets, and what it does to their answers.

A fault belongs to one of four groups. Waiting and altering faults all apply, oldest first; of the replacing and
of the sending ones only the oldest that matches.
"""

import base64
import itertools
import json
import random
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from integrations.sandbox.messages import Answer, JSONAnswer, Request, Response, ReturnToApplication, on_path

# Kinds and their own settings, with defaults. `work`: do what was asked for first (rotate, say), misbehave then.
WAITING: dict[str, dict[str, Any]] = {
    "delay": {"seconds": 1.0, "work": False},
    "hang": {"seconds": None, "work": False},
}
REPLACING: dict[str, dict[str, Any]] = {
    "status": {"status": 500, "headers": {}, "body": "", "work": False},
    "html": {"work": False},
    "raw": {"status": 200, "headers": {}, "body_base64": "", "work": False},
    "bomb": {"megabytes": 100, "work": False},
    "redirect": {"location": "/", "status": 302, "work": False},
    "close": {"work": False},
    "lost_answer": {"work": True},
    "unavailable_after_work": {"work": True},
}
ALTERING: dict[str, dict[str, Any]] = {
    "null_token": {},
    "missing_token": {},
    "missing_refresh": {},
    "wrong_state": {},
    "wrong_type": {},
    "extra_fields": {"fields": {}},
    "duplicate_keys": {},
    "return": {"override": {}, "duplicate": []},
    "long_tokens": {"length": 3500},
    "endless_paging": {},
}
SENDING: dict[str, dict[str, Any]] = {
    "drip": {"where": "body", "interval": 1.0},
    "cut": {},
}
KINDS = WAITING | REPLACING | ALTERING | SENDING
# `share`: of the requests that match, this part, by chance (0.5: every other one, more or less).
MATCHING: dict[str, Any] = {"path": None, "method": None, "times": None, "token": None, "company": None, "share": None}

HTML_INSTEAD = "<!doctype html><title>Maintenance</title><p>Back soon.</p>"


@dataclass(eq=False)
class Fault:
    """One standing order. `settings`: its kind's own; `left`: how often it still applies, None for ever."""

    id: int
    kind: str
    matching: dict[str, Any] = field(repr=False)
    settings: dict[str, Any] = field(repr=False)
    left: int | None
    hits: int = 0
    cleared: threading.Event = field(default_factory=threading.Event, repr=False)

    def meets(self, request: Request, token: str, company: int | None) -> bool:
        wanted = self.matching
        return (
            on_path(request.path, wanted["path"])
            and wanted["method"] in (None, request.method)
            and (wanted["token"] is None or wanted["token"] in token)
            and wanted["company"] in (None, company)
            and (wanted["share"] is None or random.random() < wanted["share"])  # noqa: S311 (guards nothing)
        )

    def wait(self) -> None:
        """Returns after its seconds, or as soon as the fault is cleared."""
        self.cleared.wait(self.settings["seconds"])

    def alter(self, answer: Answer) -> None:
        """Changes a good answer in place; most kinds only mean one that hands out tokens."""
        if isinstance(answer, ReturnToApplication):
            self._alter_return(answer)
        elif isinstance(answer, JSONAnswer):
            self._alter_document(answer)

    def applies_to(self, answer: Answer) -> bool:
        """Whether an altering fault has anything to change here (a refusal, or a page, does not use it up)."""
        if isinstance(answer, ReturnToApplication):
            return self.kind == "return"
        if not isinstance(answer, JSONAnswer) or not isinstance(answer.document, dict) or answer.status != 200:
            return False
        if self.kind in ("extra_fields", "duplicate_keys"):
            return True
        if self.kind == "endless_paging":
            return bool(answer.first_page)
        return self.kind not in ("return", "long_tokens") and "refresh_token" in answer.document

    def _alter_return(self, answer: ReturnToApplication) -> None:
        override: dict[str, Any] = self.settings["override"]
        kept = [(name, value) for name, value in answer.parameters if name not in override]
        kept += [(name, str(value)) for name, value in override.items() if value is not None]
        doubled = [pair for pair in kept if pair[0] in self.settings["duplicate"]]
        answer.parameters = kept + doubled

    def _alter_document(self, answer: JSONAnswer) -> None:
        document = dict(answer.document)
        match self.kind:
            case "null_token":
                document["access_token"] = None
            case "missing_token":
                del document["access_token"]
            case "missing_refresh":
                del document["refresh_token"]
            case "wrong_state":
                document["state"] = "not-the-state-that-was-sent"
            case "wrong_type":
                document |= {"token_type": "mac"}
            case "extra_fields":
                document |= self.settings["fields"]
            case "duplicate_keys":
                answer.doubled_keys = True
            case "endless_paging":
                document["next"] = document["next"] or answer.first_page
        answer.document = document

    def replacement(self) -> Response | None:
        """What is sent instead of the real answer; None to close the connection without a byte."""
        settings = self.settings
        json_type = {"Content-Type": "application/json"}
        match self.kind:
            case "status":
                body = settings["body"]
                text = body if isinstance(body, str) else json.dumps(body)
                return Response(settings["status"], text.encode(), json_type | settings["headers"])
            case "html":
                return Response(200, HTML_INSTEAD.encode(), {"Content-Type": "text/html; charset=utf-8"})
            case "raw":
                body = base64.b64decode(settings["body_base64"])
                return Response(settings["status"], body, json_type | settings["headers"])
            case "bomb":
                return Response(200, bomb(settings["megabytes"]), json_type | {"Content-Encoding": "gzip"})
            case "redirect":
                return Response(settings["status"], headers={"Location": settings["location"]})
            case "unavailable_after_work":
                return Response(500, b'{"error": "server_error"}', json_type)
        return None

    def described(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            **self.matching,
            **self.settings,
            "hits": self.hits,
            "left": self.left,
        }


class Faults:
    """All standing orders, oldest first. Those used up stay listed, with their hits, until they are cleared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._all: dict[int, Fault] = {}
        self._active: list[Fault] = []

    def add(self, order: dict[str, Any]) -> Fault:
        """A new fault. Raises ValueError, with a sentence, for an unknown kind or setting or a missing path."""
        kind = order.get("kind")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of: {', '.join(sorted(KINDS))}.")
        unknown = order.keys() - {"kind"} - MATCHING.keys() - KINDS[kind].keys()
        if unknown:
            raise ValueError(f"a fault of kind {kind} has no {', '.join(sorted(unknown))}.")
        if not isinstance(order.get("path"), str):
            raise ValueError("path is missing: a path, or the start of one followed by an asterisk.")
        matching = {name: order.get(name) for name in MATCHING}
        settings = {name: order.get(name, default) for name, default in KINDS[kind].items()}
        with self._lock:
            fault = Fault(next(self._ids), kind, matching, settings, left=matching["times"])
            self._all[fault.id] = fault
            self._active.append(fault)
        return fault

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._all.values())

    def clear(self, fault_id: int | None = None) -> None:
        """Ends one fault, or all of them; whoever waits in one goes on."""
        with self._lock:
            ended = [fault for fault in self._all.values() if fault_id in (None, fault.id)]
            for fault in ended:
                del self._all[fault.id]
            self._active = [fault for fault in self._active if fault.id in self._all]
        for fault in ended:
            fault.cleared.set()

    def met_by(self, request: Request, token: str, company: int | None) -> "Met":
        """The faults that this request meets, none of them used yet."""
        if not self._active:
            return Met(self, [])
        with self._lock:
            return Met(self, [fault for fault in self._active if fault.meets(request, token, company)])

    def use(self, fault: Fault) -> bool:
        """Counts one hit; False when another request has used it up, or it was cleared, in the meantime."""
        with self._lock:
            if fault.left == 0 or fault.id not in self._all:
                return False
            fault.hits += 1
            if fault.left is not None:
                fault.left -= 1
                if fault.left == 0:
                    self._active.remove(fault)
            return True


class Met:
    """The faults of one request; asking for one uses it."""

    def __init__(self, faults: Faults, met: list[Fault]) -> None:
        self._faults = faults
        self._met = met

    def waiting(self, *, work: bool) -> Iterator[Fault]:
        """Delays and hangs that come after the work, or before it."""
        for fault in self._met:
            if fault.kind in WAITING and fault.settings["work"] is work and self._faults.use(fault):
                yield fault

    def replacing(self) -> Fault | None:
        return self._first(REPLACING)

    def sending(self) -> Fault | None:
        return self._first(SENDING)

    def altering(self, answer: Answer) -> Iterator[Fault]:
        for fault in self._met:
            if fault.kind in ALTERING and fault.applies_to(answer) and self._faults.use(fault):
                yield fault

    def token_length(self) -> int | None:
        """How long the tokens about to be minted shall be."""
        fault = self._first({"long_tokens": {}})
        return fault.settings["length"] if fault else None

    def _first(self, group: dict[str, dict[str, Any]]) -> Fault | None:
        for fault in self._met:
            if fault.kind in group and self._faults.use(fault):
                return fault
        return None


@lru_cache(maxsize=4)
def bomb(megabytes: int) -> bytes:
    """A JSON document of so many million bytes, as gzip: about a thousandth of its size."""
    gzip = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [gzip.compress(b'{"padding": "')]
    parts += [gzip.compress(b"a" * 1_000_000) for _ in range(megabytes)]
    parts += [gzip.compress(b'"}'), gzip.flush()]
    return b"".join(parts)
