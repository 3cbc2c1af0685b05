"""Slots for calls: who gets the next one, and who waits in vain."""

from collections.abc import Iterator

import pytest
from django.urls import reverse

from connectapp import gunicorn_worker
from integrations.calls import limits


@pytest.fixture
def calls() -> Iterator[limits.Limit]:
    made = limits.Limit(4, each=2)
    yield made
    assert made.in_use == 0


def waiting(key: str, resumed: list[tuple[str, limits.Slot]], name: str = "") -> limits.Waiting:
    return limits.Waiting(key, lambda slot: resumed.append((name or key, slot)))


def test_a_released_slot_goes_to_who_has_waited_longest_with_the_key_whose_turn_it_is(calls: limits.Limit) -> None:
    resumed: list[tuple[str, limits.Slot]] = []
    slots = [calls.take(key) for key in "aabb"]
    with pytest.raises(limits.Busy):
        calls.take("c")
    for name in ("a1", "a2", "a3", "b1", "c1"):
        assert calls.wait(waiting(name[0], resumed, name))
    assert resumed == []
    for slot in slots:
        slot.release()
    # A slot of a, then of c, for which any will do: a2 has to wait for the second round.
    assert [name for name, _ in resumed] == ["a1", "c1", "b1", "a2"]
    for number in range(5):
        resumed[number][1].release()
    assert [name for name, _ in resumed] == ["a1", "c1", "b1", "a2", "a3"]


def test_who_waits_while_there_is_a_slot_is_resumed_at_once(calls: limits.Limit) -> None:
    resumed: list[tuple[str, limits.Slot]] = []
    assert calls.wait(waiting("a", resumed))
    ((name, slot),) = resumed
    assert (name, calls.in_use) == ("a", 1)
    slot.release()


def test_who_stops_waiting_is_not_resumed_and_nobody_waits_beyond_the_limit(
    calls: limits.Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING", 2)
    resumed: list[tuple[str, limits.Slot]] = []
    slots = [calls.take("a"), calls.take("a")]
    first, second = waiting("a", resumed, "first"), waiting("a", resumed, "second")
    assert (calls.wait(first), calls.wait(second), calls.wait(waiting("a", resumed))) == (True, True, False)
    assert (calls.stop_waiting(first), calls.stop_waiting(first)) == (True, False)
    for slot in slots:
        slot.release()
    assert [name for name, _ in resumed] == ["second"]
    assert not calls.stop_waiting(second)
    resumed[0][1].release()


def test_a_call_uses_the_slot_that_its_thread_holds_for_this_connection_alone() -> None:
    with limits.holding(limits.calls.take("a")), limits.slot("a"), limits.slot("b"):
        assert limits.calls.in_use == 2
    with limits.slot("a"), limits.slot("a"), pytest.raises(limits.Busy), limits.slot("a"):
        pass
    assert limits.calls.in_use == 0


def test_the_addresses_that_wait_are_those_of_the_proxy() -> None:
    found = gunicorn_worker._PROXY.match(reverse("api:proxy", args=["abc123", "user"]))
    assert found
    assert found[1] == "abc123"
    assert not gunicorn_worker._PROXY.match(reverse("api:connection", args=["abc123"]))
