"""The vendored front-end files are exactly the ones VENDORED.toml lists, and templates only name icons that exist."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "static" / "vendor"
LISTED = tomllib.loads((VENDOR / "VENDORED.toml").read_text(encoding="utf-8"))["file"]


def test_every_file_in_the_vendor_folder_is_listed_once() -> None:
    present = sorted(path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file())
    assert present == sorted(["VENDORED.toml", *(entry["name"] for entry in LISTED)])


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: str(entry["name"]))
def test_a_vendored_file_is_unchanged_and_says_where_it_is_from(entry: dict[str, str]) -> None:
    assert set(entry) == {"name", "package", "version", "licence", "source", "changes", "sha256"}
    assert all(entry.values())
    assert hashlib.sha256((VENDOR / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: str(entry["name"]))
def test_a_vendored_file_asks_for_no_source_map(entry: dict[str, str]) -> None:
    # Hashed static files follow such a reference and refuse to be collected when the map is missing.
    assert b"sourceMappingURL" not in (VENDOR / entry["name"]).read_bytes()


def test_templates_name_only_icons_of_the_sprite() -> None:
    # A missing symbol is drawn as nothing, so nobody would see the mistake.
    sprite = set(re.findall(r'<symbol id="([^"]+)"', (VENDOR / "icons.svg").read_text(encoding="utf-8")))
    named: set[str] = set()
    for template in (ROOT / "templates").rglob("*.html"):
        text = template.read_text(encoding="utf-8")
        named.update(re.findall(r'\bicon="([^"{]+)"', text))
        named.update(re.findall(r'{% icon "([^"]+)" %}', text))
    assert named <= sprite
