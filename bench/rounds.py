"""Alternating measurements of reference and product, and what many rounds come to."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

# The figures of one round.
Sample = dict[str, Any]
# "reference" and "product", with one sample for each round.
Samples = dict[str, list[Sample]]


def throughput(durations: Sequence[float], elapsed: float) -> dict[str, float]:
    """Answers per second, and the 50th, 95th and 99th percentile in milliseconds; arguments are in seconds."""
    ordered = sorted(durations)
    percentiles = {f"p{p}": 1000 * ordered[min(len(ordered) * p // 100, len(ordered) - 1)] for p in (50, 95, 99)}
    return {"per_second": len(ordered) / elapsed, **percentiles}


def alternate(rounds: int, reference: Callable[[], Sample], product: Callable[[], Sample]) -> Samples:
    """Measures both in each round and swaps their order every time, so that other load on the machine affects both."""
    samples: Samples = {"reference": [], "product": []}
    for number in range(rounds):
        turns = [("reference", reference), ("product", product)]
        for name, measure in reversed(turns) if number % 2 else turns:
            samples[name].append(measure())
    return samples


def median_of(samples: Sequence[Sample], figure: str) -> float:
    return float(median(sample[figure] for sample in samples))


def ratio(samples: Mapping[str, Sequence[Sample]], figure: str = "per_second") -> float:
    """Product by reference: the median of the rounds' own ratios."""
    pairs = zip(samples["product"], samples["reference"], strict=True)
    return float(median(product[figure] / reference[figure] for product, reference in pairs))
