"""The tests that share a world stand in one group: in two processes they would start all of it twice."""

from pathlib import Path

import pytest

from tests.support.xdist_groups import SHARED, group_of

HERE = Path(__file__).parents[1]
SHARERS = {
    "shared_world": "the world",
    "stage": "the stage",
    "deployment": "a deployment",
    "standin_world": "a nursery",
}


def test_every_group_names_files_that_are_there() -> None:
    files = {beginning.partition(".py")[0] for beginnings in SHARED.values() for beginning in beginnings}
    assert {name for name in files if not (HERE / f"{name}.py").exists()} == set()


@pytest.mark.parametrize("fixture", SHARERS)
def test_whoever_uses_what_is_shared_is_in_its_group(fixture: str, request: pytest.FixtureRequest) -> None:
    users = [item.nodeid for item in request.session.items if fixture in getattr(item, "fixturenames", ())]
    assert [name for name in users if group_of(name) != SHARERS[fixture]] == []
