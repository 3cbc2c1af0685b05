"""A Prometheus for tests, as far as deploy/alerts.yaml needs one: keeps scrapes, evaluates rules, knows which fire.

Vectors are read as its documentation says (prometheus.io/docs/prometheus/latest/querying/): the newest sample of the
last five minutes, none once a series has gone from a scrape or a scrape has failed; `increase` with counter resets and
extrapolation. Of the language there are sums, maxima, increases, arithmetic, comparisons, `and`, `unless` and `on()`.
"""

import operator
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.openmetrics import parser

RULES = Path(__file__).resolve().parents[2] / "deploy" / "alerts.yaml"
LOOKBACK = 300.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = float | Vector


def rules(path: Path = RULES) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def seconds(duration: str) -> float:
    return float(duration[:-1]) * UNITS[duration[-1]]


def samples(text: str) -> dict[tuple[str, Labels], float]:
    """What an OpenMetrics text says, read by the strict parser of prometheus-client."""
    families = parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


@dataclass
class Prometheus:
    """One target, scraped by `step`. Time is whatever the caller says it is."""

    rules: list[dict[str, Any]] = field(default_factory=rules)
    now: float = 0.0
    # By name: each series with its samples, oldest first; a None marks where it went away.
    kept: dict[str, dict[Labels, list[tuple[float, float | None]]]] = field(default_factory=lambda: defaultdict(dict))
    _since: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def step(self, text: str | None, *, after: float) -> set[str]:
        """Scrapes (None: nobody answered), evaluates every rule, and returns the alarms that fire now."""
        self.now += after
        target = frozenset({("job", "connect"), ("instance", "web-1")})
        found = {("up", target): float(text is not None)}
        for (metric, labels), number in samples(text).items() if text is not None else ():
            found[metric, labels | target] = number
        self._keep(found)
        firing = set()
        for rule in self.rules:
            value = Expression(rule["expr"], self).value
            vector: Vector = value if isinstance(value, dict) else {frozenset(): value}
            if name := rule.get("record", ""):
                self._keep({(name, labels): one for labels, one in vector.items()}, of=name)
                continue
            active = {(rule["alert"], labels) for labels in vector}
            for gone in [key for key in self._since if key[0] == rule["alert"] and key not in active]:
                del self._since[gone]
            for key in active:
                if self.now - self._since.setdefault(key, self.now) >= seconds(rule.get("for", "0s")):
                    firing.add(rule["alert"])
        return firing

    def _keep(self, found: dict[tuple[str, Labels], float], *, of: str = "") -> None:
        recorded = {rule["record"] for rule in self.rules if "record" in rule}
        for (name, labels), value in found.items():
            self.kept[name].setdefault(labels, []).append((self.now, value))
        for name, series in self.kept.items():
            if name == of or (not of and name not in recorded):
                for labels, line in series.items():
                    if (name, labels) not in found:
                        line.append((self.now, None))
                    del line[:-200]

    def instant(self, name: str, matchers: "list[Matcher]") -> Vector:
        found = {}
        for labels, line in self._matching(name, matchers):
            at, value = line[-1]
            if value is not None and at > self.now - LOOKBACK:
                found[labels] = value
        return found

    def increase(self, name: str, matchers: "list[Matcher]", window: float) -> Vector:
        """As `extrapolatedRate` of Prometheus (promql/functions.go) has it for counters."""
        found = {}
        for labels, line in self._matching(name, matchers):
            inside = [(at, value) for at, value in line if value is not None and at > self.now - window]
            if len(inside) < 2:
                continue
            (first_at, first), (last_at, last) = inside[0], inside[-1]
            grown = last - first
            grown += sum(before for (_, before), (_, after) in pairwise(inside) if after < before)
            sampled, between = last_at - first_at, (last_at - first_at) / (len(inside) - 1)
            to_start, to_end = first_at - (self.now - window), self.now - last_at
            to_start = to_start if to_start < between * 1.1 else between / 2
            if grown > 0 and first >= 0:
                to_start = min(to_start, sampled * first / grown)
            to_end = to_end if to_end < between * 1.1 else between / 2
            found[labels] = grown * (sampled + to_start + to_end) / sampled
        return found

    def _matching(self, name: str, matchers: "list[Matcher]") -> Any:
        for labels, line in self.kept.get(name, {}).items():
            known = dict(labels)
            if all(matcher(known) for matcher in matchers):
                yield labels, line


Matcher = Callable[[dict[str, str]], bool]
COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
TOKEN = re.compile(r'\s*(?:([a-zA-Z_:][\w:]*)|([0-9.]+[smh]?)|("[^"]*")|(=~|!~|!=|>=|<=|==|[-+*/><=(){}\[\],]))')


class Expression:
    """One expression, evaluated while it is read; its `value` is a number or a vector."""

    def __init__(self, text: str, memory: Prometheus) -> None:
        self._memory = memory
        self._tokens = tokens(text)
        self.value = self._sets()
        if self._tokens:
            raise ValueError(f"left over: {' '.join(self._tokens)}")

    def _next(self, *wanted: str) -> str:
        token = self._tokens.pop(0)
        if wanted and token not in wanted:
            raise ValueError(f"{token} instead of {' or '.join(wanted)}")
        return token

    def _comes(self, *wanted: str) -> bool:
        return bool(self._tokens) and self._tokens[0] in wanted

    def _sets(self) -> Value:
        left = self._compared()
        while self._comes("and", "unless"):
            keep = self._next() == "and"
            anything = False
            if self._comes("on"):
                anything = bool([self._next(token) for token in ("on", "(", ")")])
            right = self._compared()
            if not isinstance(left, dict) or not isinstance(right, dict):
                raise TypeError("and, unless: between vectors")
            left = {
                labels: value
                for labels, value in left.items()
                if (bool(right) if anything else labels in right) is keep
            }
        return left

    def _compared(self) -> Value:
        left = self._calculated(["+", "-"])
        while self._comes(*COMPARISONS):
            compare = COMPARISONS[self._next()]
            right = self._calculated(["+", "-"])
            if not isinstance(left, dict):
                raise TypeError("only vectors are compared")
            left = {labels: value for labels, value in left.items() if _holds(compare, value, labels, right)}
        return left

    def _calculated(self, operators: list[str]) -> Value:
        left = self._calculated(["*", "/"]) if "+" in operators else self._single()
        while self._comes(*operators):
            calculate = ARITHMETIC[self._next()]
            right = self._calculated(["*", "/"]) if "+" in operators else self._single()
            left = _both(calculate, left, right)
        return left

    def _single(self) -> Value:
        token = self._next()
        if token == "(":
            inner = self._sets()
            self._next(")")
            return inner
        if token in {"sum", "max"}:
            return self._aggregated(sum if token == "sum" else max)
        if token == "increase":
            self._next("(")
            name, matchers = self._next(), self._matchers()
            self._next("[")
            window = seconds(self._next())
            self._next("]")
            self._next(")")
            return self._memory.increase(name, matchers, window)
        if re.fullmatch(r"[0-9.]+", token):
            return float(token)
        return self._memory.instant(token, self._matchers())

    def _aggregated(self, aggregate: Callable[[list[float]], float]) -> Vector:
        by = []
        if self._comes("by"):
            self._next()
            self._next("(")
            by = [self._next()]
            self._next(")")
        self._next("(")
        inner = self._sets()
        self._next(")")
        assert isinstance(inner, dict)
        groups: dict[Labels, list[float]] = defaultdict(list)
        for labels, value in inner.items():
            groups[frozenset(label for label in labels if label[0] in by)].append(value)
        return {labels: aggregate(found) for labels, found in groups.items()}

    def _matchers(self) -> list[Matcher]:
        found: list[Matcher] = []
        if not self._comes("{"):
            return found
        self._next("{")
        while not self._comes("}"):
            label, how, word = self._next(), self._next("=", "=~", "!=", "!~"), self._next().strip('"')
            found.append(_matcher(label, how, word))
            if self._comes(","):
                self._next()
        self._next("}")
        return found


def tokens(text: str) -> list[str]:
    found, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot be read: {text[at:]}")
        found.append(match[0].strip())
        at = match.end()
    return found


def names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    bare = re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression)
    words = {"sum", "max", "increase", "and", "unless", "on"}
    return {token for token in tokens(bare) if re.match(r"[a-z_:]", token)} - words


def _matcher(label: str, how: str, word: str) -> Matcher:
    def agrees(labels: dict[str, str]) -> bool:
        value = labels.get(label, "")
        same = value == word if how in {"=", "!="} else re.fullmatch(word, value) is not None
        return same is (how in {"=", "=~"})

    return agrees


def _holds(compare: Callable[[Any, Any], bool], value: float, labels: Labels, right: Value) -> bool:
    if isinstance(right, dict):
        return labels in right and compare(value, right[labels])
    return compare(value, right)


def _both(calculate: Callable[[Any, Any], float], left: Value, right: Value) -> Value:
    if isinstance(left, dict) and isinstance(right, dict):
        return {labels: calculate(value, right[labels]) for labels, value in left.items() if labels in right}
    if isinstance(left, dict):
        return {labels: calculate(value, right) for labels, value in left.items()}
    if isinstance(right, dict):
        return {labels: calculate(left, value) for labels, value in right.items()}
    return calculate(left, right)
