"""Which version an upgrade starts from. Versions are told apart by their migrations."""

import subprocess

from tests.support.running_app import ROOT

# The newest migrations of the first version. Those that follow are run while the version before them serves.
FIRST_VERSION = {
    "accounts": "0001_squashed_0004_customer_by_name",
    "integrations": "0002_standard_names",
}


def follows(app: str, migration: str) -> bool:
    """Whether this migration came after the first version. Names begin with a number, so they sort."""
    return migration > FIRST_VERSION[app]


def version_before() -> str:
    """The newest commit that lacks the newest migration; the first version's if none follows it.

    Empty where there is none: the first version is not committed yet, or the history is cut off.
    """
    newest = _added("accounts/migrations/0*.py", "integrations/migrations/0*.py")
    first = _added(*(f"{app}/migrations/{name}.py" for app, name in FIRST_VERSION.items()))
    commit = f"{newest}^" if first and newest != first else first
    return _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") if commit else ""


def _added(*paths: str) -> str:
    """The newest commit that added one of these files."""
    return _git("log", "-1", "--no-renames", "--diff-filter=A", "--format=%H", "--", *paths)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
