"""How large a test is: short in the suite, full under `make soak`."""

import os


def size(short: int, full: int) -> int:
    return full if os.environ.get("SOAK") else short
