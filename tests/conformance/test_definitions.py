"""What every store must do about versions of the project's definitions (see `Definitions`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.clock import SystemClock
from tidemill.storage.contract import Store

ONE = [("triggers", {"name": "t", "dag": "d"})]


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        yield store


async def test_the_version_of_each_position_is_known(store: Store) -> None:
    await store.definitions.begin("v1", ONE, position=0)
    await store.definitions.begin("v2", [], position=10)

    found = [await store.definitions.at(position) for position in (1, 10, 11)]

    assert [one.version for one in found if one] == ["v1", "v1", "v2"]
    assert [one.version for one in await store.definitions.latest(limit=5)] == ["v2", "v1"]


async def test_what_a_version_said_is_kept(store: Store) -> None:
    await store.definitions.begin("v1", ONE, position=0)
    await store.definitions.begin("v2", [], position=1)
    await store.definitions.begin("v1", ONE, position=2)

    assert await store.definitions.written("v1") == ONE
    assert await store.definitions.written("v3") is None
    assert [one.version for one in await store.definitions.latest(limit=5)] == ["v1", "v2", "v1"]


async def test_going_on_under_the_same_version_adds_nothing(store: Store) -> None:
    await store.definitions.begin("v1", ONE, position=0)
    await store.definitions.begin("v1", ONE, position=7)

    assert [one.position for one in await store.definitions.latest(limit=5)] == [0]


async def test_two_versions_at_one_position_leave_the_later(store: Store) -> None:
    await store.definitions.begin("v1", ONE, position=3)
    await store.definitions.begin("v2", [], position=3)

    found = await store.definitions.at(4)

    assert found is not None
    assert found.version == "v2"
