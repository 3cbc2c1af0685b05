"""Which tests run one after another in the same process of pytest-xdist: those that share what is dear to start.

All other tests go, one by one, to whoever is free. The groups come first, the one with most tests at the head, so that
nobody is left alone with one at the end. (Marks cannot say it: pytest-xdist 3.8 does not see the groups of pytest 9.2,
https://github.com/pytest-dev/pytest-xdist/issues/1386, and says nothing about it.)
"""

from xdist.scheduler import LoadScopeScheduling

# What is shared, and by whom: the beginnings of tests' names.
SHARED = {
    "the world": (
        "processes/test_connect",
        "browser/test_main_path",
        "browser/test_accessibility",
        "browser/test_token_residue",
        "browser/test_passkeys",
        "connecting/test_sign_in_safety.py::test_H4",
    ),
    "the stage": (
        "processes/test_webhooks",
        "processes/test_workers",
        "tokens/test_keys.py::test_O7",
        "processes/test_backup",
    ),
    "a Chromium": ("browser/test_screens",),
    "another Chromium": ("browser/test_events", "browser/test_hostile_text"),
    "a nursery": ("processes/test_crashes",),
    "a deployment": ("processes/test_deployment", "processes/test_error_pages"),
    "a cluster": ("processes/test_cluster",),
    "a town": ("processes/test_fairness",),
    "a world without power": ("processes/test_power_loss",),
}


def group_of(nodeid: str) -> str:
    """What this test shares with others; its own name, if nothing."""
    for group, beginnings in SHARED.items():
        if nodeid.startswith(tuple(f"tests/{beginning}" for beginning in beginnings)):
            return group
    return nodeid


class Together(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
