"""What a measurement is told as: a line of the table, with its targets."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Target:
    """A limit on one of a line's figures; `at_least`, or else at most."""

    figure: str
    limit: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{self.figure} {'≥' if self.at_least else '≤'} {self.limit:g}"


def least(figure: str, limit: float) -> Target:
    return Target(figure, limit, at_least=True)


def most(figure: str, limit: float) -> Target:
    return Target(figure, limit, at_least=False)


@dataclass(frozen=True)
class Line:
    """`theirs` and `ours` in words; `figures` are what targets are about, and what is compared between runs."""

    path: str
    theirs: str
    ours: str
    figures: dict[str, float]
    targets: list[Target] = field(default_factory=list)

    @property
    def missed(self) -> list[Target]:
        return [target for target in self.targets if not target.is_met(self.figures[target.figure])]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        return cls(**{**kept, "targets": [Target(**target) for target in kept["targets"]]})
