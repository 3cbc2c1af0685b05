"""Pages, mails and messages use the words that other products have taught people."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = [
    *(ROOT / "templates").rglob("*.html"),
    *(ROOT / "templates").rglob("*.txt"),
    *(ROOT / "integrations/wording").glob("*.py"),
    ROOT / "integrations/snapinspect/errors.py",
    ROOT / "integrations/views/forms.py",
    ROOT / "accounts/forms.py",
]
BANNED = [
    "any more",
    "arrive here by themselves",
    "asked before",
    "at snapinspect's end",
    "by itself",
    "by ourselves",
    "came back from",
    "cannot be brought up to date",
    "did not work",
    "everything snapinspect answered",
    "everything that is kept",
    "from now on",
    "had an event",
    "have been dealt with",
    "how it is doing",
    "how you call it",
    "is dead",
    "is out.",
    "is you?",
    "keep it<",
    "keep them<",
    "last proved",
    "left for snapinspect",
    "let you in",
    "mend",
    "need a person",
    "needs a person",
    "not told",
    "people who run",
    "somebody",
    "something that does not exist",
    "start another company",
    "the figures as json",
    "waits for you",
    "what snapinspect says",
    "what was tried",
    "who knows it",
    "whoever",
    "whom you",
    "yourself",
]
# What nobody sees: comments of templates, docstrings and comments of modules.
UNSEEN = re.compile(
    r'\{#.*?#\}|\{% comment %\}.*?\{% endcomment %\}|""".*?"""|^\s*# .*?$|\s# [^"\n]*$', re.DOTALL | re.MULTILINE
)


def test_pages_and_mails_use_plain_words() -> None:
    found = []
    for path in PLACES:
        words = " ".join(UNSEEN.sub("", path.read_text()).lower().split())
        found += [f"{path.relative_to(ROOT)}: {phrase}" for phrase in BANNED if phrase in words]
    assert not found, "\n".join(found)


def test_the_places_that_are_read_exist() -> None:
    assert len(PLACES) > 100 and all(path.is_file() for path in PLACES)
