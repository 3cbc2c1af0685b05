"""What is common to all orders of tests and forms: their documents, and how one is refused."""

import math
from typing import Any

LONGEST_WAIT = 60.0

Document = dict[str, Any]


class Unacceptable(Exception):
    """An order that cannot be carried out; the text says why."""


def number_in(order: Document, name: str, default: float, *, least: float = 0, most: float = math.inf) -> float:
    """The number under this name, as JSON or as the text of a query."""
    given = order.get(name, default)
    try:
        number = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        limits = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
        raise Unacceptable(f"{name} must be a number, {limits}.")
    return number


def count_in(order: Document, name: str, default: int, *, most: int) -> int:
    """The whole number under this name, 1 or more."""
    number = number_in(order, name, default, least=1, most=most)
    if number != int(number):
        raise Unacceptable(f"{name} must be a whole number.")
    return int(number)


def wait_in(order: Document) -> float:
    """The seconds for which the answer may wait; sixty at most."""
    return min(number_in(order, "wait", 0), LONGEST_WAIT)


def only(order: Document, *known: str) -> None:
    """Refuses an order that says something unknown: it would be passed over in silence."""
    unknown = order.keys() - set(known)
    if unknown:
        raise Unacceptable(f"this order has no {', '.join(sorted(unknown))}.")
