"""Our tags in place of Django's write what Django's write, whether a name stands in the template or in a variable."""

import pytest
from django.template import engines
from django.templatetags.static import static

from accounts.templatetags.icons import icon


def drawn(source: str, **context: object) -> str:
    return engines["django"].from_string(source).render(context)


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ('{% icon "plug" %}', icon("plug")),
        ("{% icon name %}", icon("key")),
        ('{% icon name|default:"plug" %}', icon("key")),
        ("{% static 'app.css' %}", static("app.css")),
        ("{% static 'app.css' as found %}<{{ found }}>", f"<{static('app.css')}>"),
        ("{% static file %}", static("theme.js")),
        ("{% url 'dashboard' code %}", "/c/abc/"),
        ("{% url 'dashboard' code as found %}{{ found }}", "/c/abc/"),
        ("{% url 'invitation' odd %}", "/accounts/invitations/a&amp;b/"),
        ("{% url 'invitation' odd as found %}{{ found }}", "/accounts/invitations/a&amp;b/"),
        ("{% autoescape off %}{% url 'invitation' odd %}{% endautoescape %}", "/accounts/invitations/a&b/"),
        ("{{ 0|intcomma }} {{ 999|intcomma }} {{ number|intcomma }}", "0 999 1,234,567"),
    ],
)
def test_a_tag_writes_what_djangos_writes(source: str, written: str) -> None:
    assert drawn(source, name="key", file="theme.js", code="abc", odd="a&b", number=1234567) == written


def test_blocks_are_those_of_the_page_and_else_of_its_parents_each_time_it_is_drawn() -> None:
    page = "{% extends 'base.html' %}{% block title %}Mine{{ number }}{% endblock %}"
    for number in (1, 2):
        assert f"<title>Mine{number} · " in drawn(page, number=number)
    assert "<title> · " in drawn("{% extends 'base.html' %}{% block content %}x{% endblock %}")
    assert "Mine1" not in drawn("{% extends 'base.html' %}")
