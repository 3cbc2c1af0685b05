"""Which tests run one after another in the same process of pytest-xdist: those that share what is dear to start.

All other tests go, one by one, to whoever is free. The groups come first, the one with most tests at the head, so that
nobody is left alone with one at the end. (Marks cannot say it: pytest-xdist 3.8 does not see the groups of pytest 9.2,
https://github.com/pytest-dev/pytest-xdist/issues/1386, and says nothing about it.)
"""

from xdist.scheduler import LoadScopeScheduling

# What is shared, and by whom: the beginnings of tests' names.
SHARED = {
    "the world": (
        "test_processes",
        "test_browser",
        "test_ways_in",
        "test_residue",
        "test_passkeys",
        "test_sign_in_safety.py::test_H4",
    ),
    "the stage": ("test_webhook_processes", "test_worker_processes", "test_keys.py::test_O7", "test_backup"),
    "a Chromium": ("test_screens",),
    "another Chromium": ("test_events_browser", "test_hostile_text"),
    "a nursery": ("test_crashes",),
    "a deployment": ("test_deployment", "test_error_pages"),
    "a cluster": ("test_cluster",),
    "a town": ("test_fair_processes",),
    "a world without power": ("test_power_loss",),
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
