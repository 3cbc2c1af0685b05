"""Our stylesheets name only classes that something carries, and colours that stand elsewhere too are the same there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
# Written by Django, its admin and htmx, or put together from a value: chart-{block.kind}, border-{{ tone }}-subtle.
NOT_IN_OUR_SOURCES = {"errorlist", "readonly", "breadcrumbs", "htmx-request", "chart-space"} | {
    f"border-{tone}-subtle" for tone in ("info", "success", "warning")
}


def read(name: str) -> str:
    return re.sub(r"/\*.*?\*/", "", (STATIC / name).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("name", ["app.css", "staff.css"])
def test_every_class_of_a_stylesheet_is_used(name: str) -> None:
    sources = [*(ROOT / "templates").rglob("*.html"), *ROOT.glob("*/templatetags/*.py")]
    used = {word for source in sources for word in re.findall(r"[\w-]+", source.read_text(encoding="utf-8"))}
    assert set(re.findall(r"\.([a-z][\w-]*)", read(name))) - used - NOT_IN_OUR_SOURCES == set()


def test_the_icon_of_the_tab_has_the_accent_of_the_light_theme() -> None:
    accent = re.search(r"--bs-primary-rgb: (\d+), (\d+), (\d+);", read("app.css"))
    assert accent is not None
    assert f'fill="#{bytes(map(int, accent.groups())).hex()}"' in (STATIC / "favicon.svg").read_text(encoding="utf-8")


def test_badges_of_the_admin_have_the_colours_of_bootstrap() -> None:
    bootstrap = dict(re.findall(r"--bs-(\w+):(#\w+);", (STATIC / "vendor" / "bootstrap.min.css").read_text("utf-8")))
    badges = re.findall(r"\.badge\.border-(\w+)-subtle \{\s*border-color: (#\w+);", read("staff.css"))
    assert len(badges) == 4
    assert badges == [(tone, bootstrap[tone]) for tone, _ in badges]
