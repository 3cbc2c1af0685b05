"""Events by day as a bar chart: the inside of an svg element, and the same as rows of a table.

Drawn here and not by a template, which takes longer over thirty days than over the rest of its page. Only numbers, days
and our own words are written, so nothing needs to be escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

from django.utils.safestring import SafeString

from integrations.views.figures import Day

HEIGHT = 100
STEP, BAR = 1, 0.7  # widths: a day's share of the drawing, which is stretched to the page, and its bar's


@dataclass(frozen=True)
class Block:
    """kind: processed, waiting or failed; space for what a bar stands in."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True)
class Chart:
    """The chart of these days, oldest first. There is at least one."""

    days: Sequence[Day]
    height: int = HEIGHT

    @property
    def width(self) -> int:
        return len(self.days) * STEP

    @cached_property
    def labels(self) -> tuple[str, str, str]:
        """The first day, one in the middle, and the last."""
        first, middle, last = self.days[0], self.days[len(self.days) // 2], self.days[-1]
        return _short(first.date), _short(middle.date), _short(last.date)

    @cached_property
    def _totals(self) -> list[int]:
        return [day.total for day in self.days]

    @property
    def total(self) -> int:
        return sum(self._totals)

    @property
    def summary(self) -> str:
        """What the chart shows, as a sentence."""
        first, _, last = self.labels
        most = f"{_short(self.busiest.date)} ({self.busiest.total})"
        return f"{self.total} events from {first} to {last}, most on {most}."

    @property
    def busiest(self) -> Day:
        return self.days[self._totals.index(max(self._totals))]

    @cached_property
    def top(self) -> int:
        """What a bar of full height stands for: the next of 5, 10, 20, 50, 100 and so on."""
        top = 5
        while top < self.busiest.total:
            top = top * 2 if str(top)[0] in "15" else top * 5 // 2
        return top

    def blocks(self, day: Day) -> list[Block]:
        """The parts of a day's bar, from the bottom up."""
        return _blocks(self.top, day)

    def bars(self) -> SafeString:
        """What stands inside the svg element."""
        top = self.top
        bars = [_bar(number, top, day) for number, day in enumerate(self.days)]
        return SafeString("\n".join(bars))

    def rows(self) -> SafeString:
        """The same as rows of a table, the latest day first."""
        return SafeString("\n".join([_row(day) for day in reversed(self.days)]))


def _blocks(top: int, day: Day) -> list[Block]:
    blocks, y = [], float(HEIGHT)
    for kind, count in (("processed", day.processed), ("waiting", day.waiting), ("failed", day.failed)):
        if count:
            height = max(HEIGHT * count / top, 1.0)  # one of very many is still visible
            y -= height
            blocks.append(Block(kind, max(y, 0.0), height))
    return blocks


# Most days of most charts are past, and do not change any more.
@lru_cache(maxsize=5000)
def _bar(number: int, top: int, day: Day) -> str:
    x, total = number * STEP + (STEP - BAR) / 2, day.total
    rects = "".join(
        f'<rect class="chart-{block.kind}" x="{x:.3f}" y="{block.y:.2f}" width="{BAR}" height="{block.height:.2f}" />'
        for block in [Block("space", 0, HEIGHT), *_blocks(top, day)]
    )
    return f"<g><title>{_name(day.date)}: {total} event{'' if total == 1 else 's'}</title>{rects}</g>"


@lru_cache(maxsize=5000)
def _row(day: Day) -> str:
    figures = (day.total, day.processed, day.waiting, day.failed)
    cells = "".join(f'<td class="text-end">{figure:,}</td>' for figure in figures)
    return f'<tr><th scope="row" class="fw-normal text-nowrap">{_name(day.date)} {day.date.year}</th>{cells}</tr>'


@lru_cache(maxsize=100)
def _short(day: date) -> str:
    return day.strftime(f"{day.day} %b")


@lru_cache(maxsize=100)
def _name(day: date) -> str:
    return day.strftime(f"%a {day.day} %b")
