"""`python -m tests.commands.settings_page`: writes docs/settings.md from .env.example; a test compares them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "settings.md"
INTRODUCTION = """# Settings

Made from [.env.example](../.env.example), where every one stands with the same words. All of them come from the
environment or from `.env` (the environment wins). A value that is missing or dangerous ends the start with one line
that names the setting. *Production* means that `DEBUG` is off.
"""


def page() -> str:
    lines = [INTRODUCTION]
    for section, settings in sections((ROOT / ".env.example").read_text()):
        lines += [f"## {section}", "", "| name | meaning | default |", "|---|---|---|"]
        lines += [f"| `{name}` | {escape(meaning)} | {default} |" for name, meaning, default in settings]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def sections(text: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for part in re.split(r"^# --- ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition(" ---\n")
        yield title, list(settings(rest))


def settings(text: str) -> Iterator[tuple[str, str, str]]:
    meaning: list[str] = []
    explained = False
    for line in text.splitlines():
        if found := re.fullmatch(r"(# )?([A-Z][A-Z0-9_]+)=(.*)", line):
            optional, name, value = found.groups()
            default = f"`{value}`" if value else "none" if optional else "required in production"
            yield name, "as above" if explained else " ".join(meaning), default
            explained = True
        elif line.startswith("# "):
            # A comment stands above one setting, or above several that belong together.
            meaning = [line.removeprefix("# ")] if explained else [*meaning, line.removeprefix("# ")]
            explained = False


def escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"Written: {PAGE.relative_to(ROOT)}")
