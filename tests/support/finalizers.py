"""Garbage collections at any depth of the stack: a finalizer that finds none left fails, and releases nothing."""

import gc
import sys
import weakref
from collections.abc import Callable

STACK_OF_A_FINALIZER = 30


class Garbage:
    def __init__(self) -> None:
        self.itself = self


def lost_in(act: Callable[[], object]) -> list[str]:
    """What happened to finalizers of garbage that was collected during `act`: their errors, and those that did not run.

    act: done again and again; the collection begins a little later each time.
    """
    lost: list[str] = []
    ran: list[int] = []

    def release(number: int, levels: int = STACK_OF_A_FINALIZER) -> None:
        if levels:
            release(number, levels - 1)
        else:
            ran.append(number)

    thresholds, hook = gc.get_threshold(), sys.unraisablehook
    sys.unraisablehook = lambda unraisable: lost.append(repr(unraisable.exc_value))
    gc.collect()
    gc.freeze()  # what is here already need not be looked at again
    try:
        for number in range(500, 3 * sys.getrecursionlimit(), STACK_OF_A_FINALIZER - 5):
            gc.collect()
            weakref.finalize(Garbage(), release, number)
            gc.set_threshold(number)
            act()
            gc.set_threshold(*thresholds)
            gc.collect()
            if ran != [number]:
                lost.append(f"{number}: not released")
            ran.clear()
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.unraisablehook = hook
    return lost
