"""Days as bars: where each rectangle of the chart stands. Drawn by integrations/templatetags/drawing.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from integrations.views.figures import Day

HEIGHT = 100.0
BAR, STEP = 0.7, 1.0  # widths; the drawing is as many steps wide as there are days, and stretched to the page


@dataclass(frozen=True)
class Block:
    kind: str  # processed, waiting or failed; or the space that a bar stands in
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    day: Day
    x: float
    blocks: list[Block]


@dataclass(frozen=True)
class Chart:
    """`top` is what a bar of full height stands for."""

    bars: list[Bar]
    top: int
    total: int
    busiest: Day

    @property
    def width(self) -> float:
        return len(self.bars) * STEP

    @property
    def first(self) -> date:
        return self.bars[0].day.date

    @property
    def middle(self) -> date:
        return self.bars[len(self.bars) // 2].day.date

    @property
    def last(self) -> date:
        return self.bars[-1].day.date


def of(days: Sequence[Day]) -> Chart:
    """The chart of these days, oldest first. There is at least one."""
    busiest = max(days, key=lambda day: day.total)
    top = _round_up(busiest.total)
    bars = [Bar(day, round(number * STEP + (STEP - BAR) / 2, 3), _stack(day, top)) for number, day in enumerate(days)]
    return Chart(bars, top, sum(day.total for day in days), busiest)


def _stack(day: Day, top: int) -> list[Block]:
    blocks, y = [], HEIGHT
    for kind, count in (("processed", day.processed), ("waiting", day.waiting), ("failed", day.failed)):
        if count:
            # Whatever there is can be seen, however few of many.
            height = max(HEIGHT * count / top, 1.0)
            y -= height
            blocks.append(Block(kind, round(max(y, 0.0), 2), round(height, 2)))
    return blocks


def _round_up(number: int) -> int:
    """The next of 5, 10, 20, 50, 100 and so on."""
    step = 5
    while step < number:
        step = step * 2 if str(step)[0] in "15" else step * 5 // 2
    return step
