"""What every store must do about versions of DAGs: their sources, the modules beside them, and runs that move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.conformance.values import new_run

from tidemill.clock import SystemClock
from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.storage.contract import Append, Recorded, RouteBatch, RunEnd, Store


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        yield store


async def test_modules_are_kept_with_their_version(store: Store) -> None:
    modules = {"_a.py": "A = 1\n", "lib/__init__.py": "", "lib/b.py": "# größer, 漢字\n"}

    await store.runs.save_version("d", "v1", "workflows/d.py", "text", b"[]", modules=modules)
    await store.runs.save_version("d", "v2", "workflows/d.py", "text", b"[]", modules={"_a.py": "A = 2\n"})
    await store.runs.save_version("other", "v1", "workflows/o.py", "text", b"[]", modules=modules)

    assert await store.runs.modules("d", "v1") == modules
    assert await store.runs.modules("d", "v2") == {"_a.py": "A = 2\n"}
    assert await store.runs.modules("other", "v1") == modules


async def test_nobody_knowing_the_modules_is_not_there_being_none(store: Store) -> None:
    await store.runs.save_version("d", "v1", "workflows/d.py", "text", b"[]")
    await store.runs.save_version("d", "v2", "workflows/d.py", "text", b"[]", modules={})

    assert await store.runs.modules("d", "v1") is None
    assert await store.runs.modules("d", "v2") == {}
    assert await store.runs.modules("d", "v3") is None


async def test_modules_of_a_version_that_is_kept_already_stay(store: Store) -> None:
    await store.runs.save_version("d", "v1", "workflows/d.py", "text", b"[]", modules={"_a.py": "1"})
    await store.runs.save_version("d", "v1", "workflows/d.py", "text", b"[]", modules={"_a.py": "2"})

    assert await store.runs.modules("d", "v1") == {"_a.py": "1"}


async def test_versions_of_a_dag_are_listed(store: Store) -> None:
    await store.runs.save_version("d", "v1", "workflows/d.py", "text", b"[]")
    await store.runs.save_version("d", "v2", "workflows/e.py", "text", b"[]")
    await store.runs.save_version("other", "v9", "workflows/o.py", "text", b"[]")

    found = await store.runs.versions("d")

    assert {(one.version, one.file) for one in found} == {("v1", "workflows/d.py"), ("v2", "workflows/e.py")}
    assert all(one.saved_at > 0 for one in found)
    assert await store.runs.versions("nobody") == []


async def queued(store: Store) -> None:
    await store.log.append(Append(events=[Event(id="1", source="/shop", type="placed")]))
    await store.runs.route(RouteBatch(expected=0, cursor=1, runs=[new_run("r1"), new_run("r2")]))


async def version_of(store: Store, run: str) -> str | None:
    found = await store.runs.get(run)
    return None if found is None else found.version


async def test_run_goes_on_with_another_version_in_the_transaction_of_its_record(store: Store) -> None:
    await queued(store)
    await store.runs.record([Recorded("r1", 0, 1, b"[]", RunEnd("running", 1))])

    await store.runs.record([Recorded("r1", 1, 2, b"[]", RunEnd("running", 1, None, "v2"))])
    with pytest.raises(CursorMoved):
        await store.runs.record([Recorded("r1", 1, 3, b"[1]", RunEnd("running", 1, None, "v3"))])

    assert await version_of(store, "r1") == "v2"
    assert await version_of(store, "r2") == "v1"
    assert [row[0] for row in await store.runs.history("r1")] == [0, 1]


async def test_queued_run_will_begin_with_another_version_until_it_has_begun(store: Store) -> None:
    await queued(store)

    await store.runs.move_queued("r1", "v2")
    await store.runs.record([Recorded("r1", 0, 1, b"[]", RunEnd("running", 1))])
    await store.runs.move_queued("r1", "v3")
    await store.runs.move_queued("nobody", "v3")

    assert await version_of(store, "r1") == "v2"
