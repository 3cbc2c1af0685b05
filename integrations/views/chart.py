"""Events by day as a bar chart: the inside of an svg element, and the same as rows of a table.

Drawn here and not by a template, which takes longer over thirty days than over the rest of its page. Only numbers, days
and our own words are written, so nothing needs to be escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

from django.utils.safestring import SafeString, mark_safe

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
    def total(self) -> int:
        return sum(day.total for day in self.days)

    @property
    def summary(self) -> str:
        """What the chart shows, as a sentence."""
        first, _, last = self.labels
        most = f"{_short(self.busiest.date)} ({self.busiest.total})"
        return f"{self.total} events from {first} to {last}, most on {most}."

    @cached_property
    def busiest(self) -> Day:
        return max(self.days, key=lambda day: day.total)

    @cached_property
    def top(self) -> int:
        """What a bar of full height stands for: the next of 5, 10, 20, 50, 100 and so on."""
        top = 5
        while top < self.busiest.total:
            top = top * 2 if str(top)[0] in "15" else top * 5 // 2
        return top

    def blocks(self, day: Day) -> list[Block]:
        """The parts of a day's bar, from the bottom up."""
        return _blocks(self.top, day.processed, day.waiting, day.failed)

    def bars(self) -> SafeString:
        """What stands inside the svg element."""
        return mark_safe("\n".join(self._bar(number, day) for number, day in enumerate(self.days)))  # noqa: S308

    def rows(self) -> SafeString:
        """The same as rows of a table, the latest day first."""
        rows = (_row(day.date, day.total, day.processed, day.waiting, day.failed) for day in reversed(self.days))
        return mark_safe("\n".join(rows))  # noqa: S308

    def _bar(self, number: int, day: Day) -> str:
        return _bar(number, day.date, self.top, day.processed, day.waiting, day.failed)


def _blocks(top: int, processed: int, waiting: int, failed: int) -> list[Block]:
    blocks, y = [], float(HEIGHT)
    for kind, count in (("processed", processed), ("waiting", waiting), ("failed", failed)):
        if count:
            height = max(HEIGHT * count / top, 1.0)  # one of very many is still visible
            y -= height
            blocks.append(Block(kind, max(y, 0.0), height))
    return blocks


# Most days of most charts are past, and do not change any more.
@lru_cache(maxsize=5000)
def _bar(number: int, day: date, top: int, *figures: int) -> str:
    x, total = number * STEP + (STEP - BAR) / 2, sum(figures)
    rects = "".join(
        f'<rect class="chart-{block.kind}" x="{x:.3f}" y="{block.y:.2f}" width="{BAR}" height="{block.height:.2f}" />'
        for block in [Block("space", 0, HEIGHT), *_blocks(top, *figures)]
    )
    return f"<g><title>{_name(day)}: {total} event{'' if total == 1 else 's'}</title>{rects}</g>"


@lru_cache(maxsize=5000)
def _row(day: date, *figures: int) -> str:
    cells = "".join(f'<td class="text-end">{figure:,}</td>' for figure in figures)
    return f'<tr><th scope="row" class="fw-normal text-nowrap">{_name(day)} {day.year}</th>{cells}</tr>'


@lru_cache(maxsize=100)
def _short(day: date) -> str:
    return day.strftime(f"{day.day} %b")


@lru_cache(maxsize=100)
def _name(day: date) -> str:
    return day.strftime(f"%a {day.day} %b")
