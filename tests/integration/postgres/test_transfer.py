"""A project moves from SQLite to PostgreSQL: everything, once, also when the copy is interrupted."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tidemill.clock import SystemClock
from tidemill.errors import ProjectLocked, SettingsError, StorageError
from tidemill.events.event import Event
from tidemill.storage import transfer as module
from tidemill.storage.contract import (
    Append,
    CursorMove,
    DeadLetter,
    Delivery,
    Disposition,
    DispositionKind,
    FileVersion,
    NewRun,
    Recorded,
    RouteBatch,
    RunEnd,
)
from tidemill.storage.postgres import open_store as open_postgres
from tidemill.storage.sqlite import open_store as open_sqlite
from tidemill.storage.transfer import transfer

pytestmark = pytest.mark.postgres


async def _fill(path: Path, *, events: int) -> None:
    store = await open_sqlite(path, clock=SystemClock())
    letter = DeadLetter(
        id="l1", at=5, stage="files", code="c", detail="nul \0 here", origin="o", body=b"\x00\xff"
    )
    await store.log.append(
        Append(
            events=[Event(id=str(n), source="/s", type="t", data={"n": n}) for n in range(events)],
            cursors=[CursorMove("k/0", None, "5")],
            files=[FileVersion("inbox", "a.csv", 7, 10, 99, "digest")],
            dead_letters=[letter],
        )
    )
    runs = [
        NewRun(
            run_id=f"run-{n}",
            dag=f"dag-{n % 7}",
            version="v",
            trigger="t",
            position=n + 1,
            event_source="/s",
            event_id=str(n),
            parameters=b"{}",
            queued_at=n,
            correlation_id="c",
            hop_count=0,
        )
        for n in range(50)
    ]
    await store.runs.route(
        RouteBatch(
            expected=0,
            cursor=50,
            runs=runs,
            dispositions=[Disposition(run.position, "t", DispositionKind.RUN, run.run_id) for run in runs],
            deliveries=[Delivery(subscription="audit", position=n + 1) for n in range(50)],
        )
    )
    await store.runs.record([Recorded(run.run_id, 0, 9, b"[]", RunEnd("running", 9)) for run in runs[:20]])
    await store.runs.request("run-3", "cancel")
    await store.runs.save_version("dag-1", "v", "workflows/a.py", "text", b"[]")
    await store.close()


async def test_transfer_moves_everything_and_the_project_goes_on(tmp_path: Path, postgres_url: str) -> None:
    await _fill(tmp_path / "t.db", events=500)

    counts = await transfer(tmp_path / "t.db", postgres_url, project="tidemill")

    assert (counts["events"], counts["runs"], counts["history"], counts["deliveries"]) == (500, 50, 20, 50)
    store = await open_postgres(postgres_url, clock=SystemClock())
    assert (store.log.head, store.log.routed) == (500, 50)
    assert (await store.log.read(99, 1))[0].event.data == {"n": 99}
    assert len(await store.runs.live(after="", limit=99)) == 20
    assert [request.run_id for request in await store.runs.requests()] == ["run-3"]
    (again, following) = await store.log.append(
        Append(
            events=[Event(id="7", source="/s", type="t", data={"n": 7}), Event(id="x", source="/s", type="t")]
        )
    )
    assert (again.position, again.duplicate, following.position) == (8, True, 501)
    await store.runs.request("run-4", "cancel")
    assert len(await store.runs.requests()) == 2
    await store.close()


async def test_transfer_that_was_interrupted_goes_on_where_it_stopped(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(tmp_path / "t.db", events=500)
    monkeypatch.setattr(module, "_PAGE", 100)
    pages: list[str] = []
    copy = asyncpg.Connection.copy_records_to_table

    async def copy_three(self: asyncpg.Connection, table: str, **rest: object) -> None:
        if len(pages) == 3:
            raise OSError("the cable was pulled")
        pages.append(table)
        await copy(self, table, **rest)

    monkeypatch.setattr(asyncpg.Connection, "copy_records_to_table", copy_three)
    with pytest.raises(OSError, match="cable"):
        await transfer(tmp_path / "t.db", postgres_url, project="tidemill")
    with pytest.raises(SettingsError, match="not finished"):
        await open_postgres(postgres_url, clock=SystemClock())
    monkeypatch.setattr(asyncpg.Connection, "copy_records_to_table", copy)

    counts = await transfer(tmp_path / "t.db", postgres_url, project="tidemill")

    assert pages == ["events"] * 3
    assert counts["events"] == 500


async def test_transfer_refuses_a_database_that_is_in_use(tmp_path: Path, postgres_url: str) -> None:
    await _fill(tmp_path / "t.db", events=60)
    store = await open_postgres(postgres_url, clock=SystemClock())
    await store.log.append(Append(events=[Event(id="1", source="/other", type="t")]))
    await store.close()

    with pytest.raises(SettingsError, match="holds events already"):
        await transfer(tmp_path / "t.db", postgres_url, project="tidemill")


async def test_transfer_refuses_a_project_that_is_served(tmp_path: Path, postgres_url: str) -> None:
    served = await open_sqlite(tmp_path / "t.db", clock=SystemClock())

    with pytest.raises(ProjectLocked):
        await transfer(tmp_path / "t.db", postgres_url, project="tidemill")

    await served.close()


async def test_transfer_notices_a_row_that_differs(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(tmp_path / "t.db", events=60)

    async def spoil(connection: asyncpg.Connection) -> None:
        await connection.execute("UPDATE events SET type = 'other' WHERE position = 7")

    monkeypatch.setattr(module, "_set_counters", spoil)
    with pytest.raises(StorageError, match="table events differs"):
        await transfer(tmp_path / "t.db", postgres_url, project="tidemill")
