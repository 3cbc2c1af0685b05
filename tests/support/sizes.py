"""How large a test is: short in the suite, full under `make soak`."""

import os
from typing import TypeVar

Number = TypeVar("Number", int, float)


def size(short: Number, full: Number) -> Number:
    """Also of bounds on time, which are the rule's own in full only.

    The suite runs beside much else on few processors: the short one is what a broken rule alone exceeds.
    """
    return full if os.environ.get("SOAK") else short
