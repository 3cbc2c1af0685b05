"""Row O15 of the score card: everything at once for twenty minutes, and nothing grows, waits or fails."""

import pytest

from integrations.events import replays
from tests.conftest import AppFactory
from tests.support.many_customers import MANY_CUSTOMERS, ManyCustomers
from tests.support.measurements import record
from tests.support.mixed_load import MemorySampler, MixedLoad
from tests.support.sizes import size
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.processes]

SECONDS = size(8, 20 * 60)
# What a process may have more in the last quarter than in the second (megabytes): the short form starts cold.
MOST_GROWTH = size(100, 15)


def test_O15_under_mixed_load_memory_and_queue_stay_flat_and_nothing_fails(new_app: AppFactory) -> None:
    many_customers = ManyCustomers(new_app(**MANY_CUSTOMERS), size(3, 20))
    load = MixedLoad(many_customers)
    memory = MemorySampler(web=many_customers.web, worker=many_customers.worker)
    with memory.sampling():
        load.run(SECONDS, at_least=size(1, 100))
    left = load.waiting()
    wait_until(lambda: load.waiting() == 0, seconds=180, every=0.5)

    growth = {name: memory.growth(name) for name in memory.samples}
    figures = ", ".join(f"{name} {middle:.0f} MB {more:+.1f}" for name, (middle, more) in growth.items())
    did = ", ".join(f"{number} {what}" for what, number in sorted(load.done.items()))
    record(
        "O15",
        "mixed load on one web process group and one worker (20 minutes in full)",
        f"{did}; memory: {figures}; {left} waited at the end, all done; {len(load.failures)} wrong answers, "
        f"{len(load.errors())} errors logged",
    )
    assert (load.failures, load.errors()) == ([], [])
    assert left <= replays.MOST_WAITING + replays.STEP + 100, "more waits than a replay keeps waiting"
    assert max(more for _, more in growth.values()) <= MOST_GROWTH
