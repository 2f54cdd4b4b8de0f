"""What every store must do with results that are used again, with what holds them, and with quarantined runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.conformance.values import new_run

from tidemill.clock import SystemClock
from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.storage.claims import EventData
from tidemill.storage.contract import (
    Append,
    CacheEntry,
    Recorded,
    Reuse,
    RouteBatch,
    RunEnd,
    RunFilter,
    Store,
)
from tidemill.storage.contract.cache import place

LATE = 1 << 60


@pytest.fixture
def data(tmp_path: Path) -> EventData:
    return EventData(f"file://{tmp_path}/kept")


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, data: EventData) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock(), data=data) as store:
        await store.log.append(Append(events=[Event(id=str(n), source="/s", type="t") for n in range(9)]))
        runs = [new_run(f"run-{n}", position=n, queued_at=n) for n in range(1, 5)]
        await store.runs.route(RouteBatch(expected=0, cursor=9, runs=runs))
        yield store


def entry(key: str, run: str = "run-1", *, at: int = 5, result: bytes = b"1") -> CacheEntry:
    return CacheEntry(key, "flow", "load", run, at, result)


async def record(
    store: Store, run: str, sequence: int, reuse: Reuse | None, *, ended: int | None = None
) -> None:
    summary = None if ended is None else RunEnd("failed", ended, ended)
    await store.runs.record([Recorded(run, sequence, 5, b"[]", summary, reuse=reuse)])


async def test_result_is_found_once_its_record_is_there(store: Store) -> None:
    await record(store, "run-1", 0, Reuse(cached=[entry("aa", result=b'{"n":1}'), entry("bb")]))

    found = await store.cache.find({"aa", "cc"})

    assert found == {"aa": entry("aa", result=b'{"n":1}')}
    assert await store.cache.find(set()) == {}


async def test_result_is_not_there_when_its_record_was_refused(store: Store) -> None:
    await record(store, "run-1", 0, None)

    with pytest.raises(CursorMoved):
        await record(store, "run-1", 0, Reuse(cached=[entry("aa")]))

    assert await store.cache.find({"aa"}) == {}


async def test_later_result_of_one_key_stays_also_within_one_commit(store: Store) -> None:
    rows = [
        Recorded("run-1", 0, 5, b"[]", reuse=Reuse(cached=[entry("aa", result=b"1")])),
        Recorded("run-2", 0, 6, b"[]", reuse=Reuse(cached=[entry("aa", "run-2", at=6, result=b"2")])),
    ]
    await store.runs.record(rows)

    assert (await store.cache.find({"aa"}))["aa"].run_id == "run-2"


async def test_results_are_listed_newest_first_by_pages_and_cleared(store: Store) -> None:
    entries = [entry(f"{n:02}", at=10 + n // 2) for n in range(6)]
    await record(store, "run-1", 0, Reuse(cached=entries))

    first = await store.cache.list(limit=4)
    rest = await store.cache.list(limit=4, before=place(first[-1]))

    assert [one.key for one in [*first, *rest]] == ["05", "04", "03", "02", "01", "00"]
    assert await store.cache.list(limit=9, dag="other") == []
    assert await store.cache.clear(key="05") == 1
    assert await store.cache.clear(before=11) == 2
    assert [one.key for one in await store.cache.list(limit=9)] == ["04", "03", "02"]
    assert await store.cache.clear() == 3
    assert await store.cache.list(limit=9) == []


async def test_results_go_with_their_run_and_with_their_age(store: Store) -> None:
    await record(store, "run-1", 0, Reuse(cached=[entry("aa")]), ended=5)
    await record(store, "run-2", 0, Reuse(cached=[entry("bb", "run-2", at=50), entry("cc", "run-2", at=60)]))

    await store.keeping.drop_runs(below=2, ended_before=LATE)
    await store.keeping.forget(before=60, identities_before=0, identities_below=0)

    assert (await store.cache.find({"aa", "bb", "cc"})).keys() == {"cc"}


async def test_quarantined_runs_are_found_until_they_are_released_or_dropped(store: Store) -> None:
    for run in ("run-1", "run-2", "run-3"):
        await record(store, run, 0, Reuse(quarantined=True), ended=5)
    await record(store, "run-4", 0, Reuse(released="run-2"))

    async def found() -> list[str]:
        page = await store.runs.list(RunFilter(quarantined=True), before=None, limit=10)
        return [run.run_id for run in page]

    assert await found() == ["run-3", "run-1"]
    await store.keeping.drop_runs(below=2, ended_before=LATE)
    assert await found() == ["run-3"]
    assert len(await store.runs.list(RunFilter(), before=None, limit=10)) == 3


def kept(folder: Path) -> set[str]:
    return {file.parent.name for file in (folder / "kept").rglob("*.json")}


def keep(folder: Path, run: str) -> None:
    file = folder / "kept" / run / "0-1-0123456789abcdef.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"[1]")


async def test_results_kept_elsewhere_go_with_their_run_orphans_too(store: Store, tmp_path: Path) -> None:
    for run in ("run-1", "run-2"):
        keep(tmp_path, run)
        await record(store, run, 0, None, ended=5)

    await store.keeping.drop_runs(below=2, ended_before=LATE)

    assert kept(tmp_path) == {"run-2"}


async def test_results_stay_while_another_run_refers_to_them_and_go_with_the_last_one(
    store: Store, tmp_path: Path
) -> None:
    keep(tmp_path, "run-1")
    await record(store, "run-1", 0, None, ended=5)
    await record(store, "run-2", 0, Reuse(holds={"run-1"}), ended=5)
    await record(store, "run-3", 0, Reuse(holds={"run-1"}), ended=5)

    await store.keeping.drop_runs(below=2, ended_before=LATE)
    assert kept(tmp_path) == {"run-1"}
    await store.keeping.drop_runs(below=3, ended_before=LATE)
    assert kept(tmp_path) == {"run-1"}
    await store.keeping.drop_runs(below=4, ended_before=LATE)
    assert kept(tmp_path) == set()


async def test_holder_that_is_dropped_before_the_held_run_takes_nothing_along(
    store: Store, tmp_path: Path
) -> None:
    keep(tmp_path, "run-3")
    await record(store, "run-3", 0, None)
    await record(store, "run-2", 0, Reuse(holds={"run-3"}), ended=5)

    await store.keeping.drop_runs(below=3, ended_before=LATE)

    assert kept(tmp_path) == {"run-3"}
