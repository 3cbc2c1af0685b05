"""The chart's many small parts, drawn here: a template takes longer over thirty days than over the rest of its page.

Numbers, days and our own words alone go into them: nothing that anybody has written, so there is nothing to escape.
"""

from datetime import date

from django import template
from django.utils.safestring import SafeString, mark_safe

from integrations.views.chart import HEIGHT, Bar, Block, Chart

register = template.Library()


@register.simple_tag
def bars(chart: Chart) -> SafeString:
    """What stands inside the chart's svg element."""
    return mark_safe("\n".join(map(_bar, chart.bars)))  # noqa: S308


@register.simple_tag
def days_as_rows(chart: Chart) -> SafeString:
    """The same as rows of a table, the latest first."""
    return mark_safe("\n".join(map(_row, reversed(chart.bars))))  # noqa: S308


def _bar(bar: Bar) -> str:
    total = bar.day.total
    rects = "".join(_rect(bar.x, block) for block in [Block("space", 0, HEIGHT), *bar.blocks])
    return f"<g><title>{_day(bar.day.date)}: {total} event{'' if total == 1 else 's'}</title>{rects}</g>"


def _rect(x: float, block: Block) -> str:
    return f'<rect class="chart-{block.kind}" x="{x:.3f}" y="{block.y:.2f}" width="0.7" height="{block.height:.2f}" />'


def _row(bar: Bar) -> str:
    day = bar.day
    figures = (day.total, day.processed, day.waiting, day.failed)
    cells = "".join(f'<td class="text-end">{figure:,}</td>' for figure in figures)
    return f'<tr><th scope="row" class="fw-normal text-nowrap">{_day(day.date)} {day.date.year}</th>{cells}</tr>'


def _day(day: date) -> str:
    return day.strftime(f"%a {day.day} %b")
