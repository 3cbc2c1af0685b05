"""Taking turns, and what many rounds say together."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

Sample = dict[str, Any]


def quantiles(times: Sequence[float], took: float) -> dict[str, float]:
    """`times` in seconds; per second, and the 50th, 95th and 99th of a hundred in milliseconds."""
    ordered = sorted(times)
    shares = {f"p{share}": 1000 * ordered[min(len(ordered) * share // 100, len(ordered) - 1)] for share in (50, 95, 99)}
    return {"per_second": len(ordered) / took, **shares}


def in_turn(rounds: int, theirs: Callable[[], Sample], ours: Callable[[], Sample]) -> dict[str, list[Sample]]:
    """A B, B A, A B …: what else the machine does in the meantime meets both alike."""
    seen: dict[str, list[Sample]] = {"theirs": [], "ours": []}
    for number in range(rounds):
        turns = [("theirs", theirs), ("ours", ours)]
        for name, measure in reversed(turns) if number % 2 else turns:
            seen[name].append(measure())
    return seen


def middle(samples: Sequence[Sample], figure: str) -> float:
    return float(median(sample[figure] for sample in samples))


def ratio(seen: Mapping[str, Sequence[Sample]], figure: str = "per_second") -> float:
    """Ours by theirs: the median over the rounds, each compared with its own neighbour."""
    pairs = zip(seen["ours"], seen["theirs"], strict=True)
    return float(median(ours[figure] / theirs[figure] for ours, theirs in pairs))
