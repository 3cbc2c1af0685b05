"""One row of the table of benchmarks, with its targets."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Target:
    """A limit for one of a result's figures: a minimum if `is_minimum`, else a maximum."""

    figure: str
    limit: float
    is_minimum: bool

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.is_minimum else value <= self.limit

    def __str__(self) -> str:
        return f"{self.figure} {'≥' if self.is_minimum else '≤'} {self.limit:g}"


def at_least(figure: str, limit: float) -> Target:
    return Target(figure, limit, is_minimum=True)


def at_most(figure: str, limit: float) -> Target:
    return Target(figure, limit, is_minimum=False)


@dataclass(frozen=True)
class Result:
    """`reference` and `product` are shown as text; targets are about `figures`, and later runs are compared by them."""

    path: str
    reference: str
    product: str
    figures: dict[str, float]
    targets: list[Target] = field(default_factory=list)

    @property
    def missed(self) -> list[Target]:
        return [target for target in self.targets if not target.is_met(self.figures[target.figure])]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**{**stored, "targets": [Target(**target) for target in stored["targets"]]})
