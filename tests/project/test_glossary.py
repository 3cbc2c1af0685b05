"""Pages and mails use the words of docs/glossary.md, and none of those that it rules out."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.running_app import ROOT

TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*") if path.suffix in {".html", ".txt"})
WORDING = sorted((ROOT / "integrations" / "wording").glob("*.py"))
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
# Words of the glossary's last column; some of them mean something else in a sentence and are left to the reader.
BANNED = re.compile(
    r"\b(workspaces?|tenants?|organi[sz]ations?|integrations?|webhook calls?|payloads?|jobs?|tasks?|redeliver\w*"
    r"|callbacks?|widgets?|credentials?|token refresh\w*|PATs?|OAuth\d?|re-?authori[sz]\w*"
    r"|synchroni[sz]\w*|sync(ed|ing)?)\b",
    re.IGNORECASE,
)
# Read by SnapInspect's people, in SnapInspect's words.
LETTERS = {"personal_token_mail.html", "registration.html"}


def words_of(template: str) -> str:
    """What a template shows by itself: no comments, no tags of Django's or HTML's, no attribute that nobody reads."""
    shown = re.sub(
        r"{% comment %}.*?{% endcomment %}|{#.*?#}|<!--.*?-->|<script.*?</script>", " ", template, flags=re.DOTALL
    )
    quoted = re.findall(r'(?:title|text|label|button_label|aria-label|placeholder)="([^"{]*)"', shown)
    return " ".join([re.sub(r"{%.*?%}|{{.*?}}|<[^>]*>", " ", shown, flags=re.DOTALL), *quoted])


@pytest.mark.once
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_a_page_uses_no_word_that_the_glossary_rules_out(template: Path) -> None:
    if template.name not in LETTERS:
        assert [found[0] for found in BANNED.finditer(words_of(template.read_text()))] == []


@pytest.mark.once
@pytest.mark.parametrize("module", WORDING, ids=lambda path: path.name)
def test_no_sentence_for_people_does_either(module: Path) -> None:
    texts = [node.value for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Constant)]
    sentences = [text for text in texts if isinstance(text, str) and " " in text]
    assert [found[0] for sentence in sentences for found in BANNED.finditer(sentence)] == []


@pytest.mark.once
@pytest.mark.parametrize(
    "word", ["Customer", "Connection", "Event", "Delivery", "Attempt", "Replay", "Panel", "State", "Exchange"]
)
def test_the_glossary_explains_the_word(word: str) -> None:
    assert re.search(rf"^\| \*\*{word}\*\* \| .{{20,}} \|", GLOSSARY, re.MULTILINE)
