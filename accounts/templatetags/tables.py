"""The frame of a table: `{% table "Keys" "Name" "Last used" %}`, its rows, `{% endtable %}`."""

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_block_tag(name="table", end_name="endtable")
def table(content: str, label: str, *columns: str, buttons: str = "", box: str = "", size: str = "") -> SafeString:
    """A table in a box that scrolls by itself, also with the keyboard; on a phone its rows are cards (app.css).

    Arguments:
        content: the rows.
        label: what a screen reader calls it.
        columns: their headings; one that is empty is left out.
        buttons: what the buttons in a last column do, for screen readers.
        box: further classes of the box.
        size: further classes of the table.
    """
    head = format_html_join("", '<th scope="col">{}</th>', ((column,) for column in columns if column))
    if buttons:
        head += format_html('<th scope="col"><span class="visually-hidden">{}</span></th>', buttons)
    return format_html(
        '<div class="table-responsive {}" tabindex="0" role="region" aria-label="{}"><table class="table table-cards'
        ' align-middle mb-0 {}"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>',
        box,
        label,
        size,
        head,
        content,
    )
