"""The file source on real folders, a real watch and the real store.

Time stands still unless a test moves it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill.clock import Clock, SystemClock
from tidemill.events.event import LoggedEvent
from tidemill.project.model import FileSource
from tidemill.sources.contract import SourceState
from tidemill.sources.files import FileSourceStage, folder, watch, writers
from tidemill.storage.contract import Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

#: Longest wait for anything, in seconds; only failing tests wait so long.
PATIENCE = 20.0
QUIET = 1.0
SCAN = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=clock)
    yield store
    await store.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox


@pytest.fixture
def build(inbox: Path, store: Store, clock: ManualClock) -> Callable[..., FileSourceStage]:
    def build(*, clock: Clock = clock, **fields: Any) -> FileSourceStage:
        spec = FileSource(**{"name": "inbox", "path": inbox, "quiet": timedelta(seconds=QUIET), **fields})
        return FileSourceStage(spec, store.log, store.ledger, clock=clock, scan_seconds=SCAN)

    return build


@pytest.fixture
def quiet_library() -> Iterator[None]:
    """The watching library may not log warnings, as under a log level of ERROR."""
    library = logging.getLogger("watchdog.observers")
    library.setLevel(logging.ERROR)
    yield
    library.setLevel(logging.NOTSET)


@asynccontextmanager
async def running(source: FileSourceStage, *, until: SourceState = SourceState.LIVE) -> AsyncIterator[None]:
    """The source runs; its first scan is over when this begins, so that the watch is there."""
    task = asyncio.ensure_future(source.run())
    try:
        await until_state(source, until, task)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        if not task.cancelled():
            task.result()


async def until_state(
    source: FileSourceStage, state: SourceState, task: asyncio.Future[None] | None = None
) -> None:
    async with asyncio.timeout(PATIENCE):
        while source.status().state is not state:
            assert task is None or not task.done(), task
            await asyncio.sleep(0.001)


async def planned(clock: ManualClock, count: int) -> None:
    """Return when so many wait for time to pass: the next scan is one of them, each settling file another."""
    async with asyncio.timeout(PATIENCE):
        await clock.wait_for_planned(count)


async def logged(store: Store, count: int) -> list[LoggedEvent]:
    async with asyncio.timeout(PATIENCE):
        while store.log.head < count:
            await store.log.wait_for_event(store.log.head)
    return await store.log.read(0, 100_000)


async def subjects(store: Store, count: int) -> list[str | None]:
    return [entry.event.subject for entry in await logged(store, count)]


def land(path: Path, content: str = "a,b\n1,2\n") -> Path:
    """Write a file elsewhere and rename it into place."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(content)
    return unfinished.rename(path)


def lose_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hint of the watch is lost, but those of the file by which the source tests it."""
    honest = watch._Translator._tell

    def tell(translator: Any, path: bytes | str, **facts: bool) -> None:
        if os.fsdecode(path).endswith(".probe"):
            honest(translator, path, **facts)

    monkeypatch.setattr(watch._Translator, "_tell", tell)


async def test_event_says_what_landed(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path
) -> None:
    (inbox / "2026").mkdir()

    async with running(build(event_source="/shop/inbox", event_type="shop.orders.v1")):
        path = land(inbox / "2026" / "orders.csv", "content")
        (entry,) = await logged(store, 1)

    event = entry.event
    assert (event.source, event.type, event.subject) == ("/shop/inbox", "shop.orders.v1", "2026/orders.csv")
    assert event.data["folder"] == str(inbox)
    assert event.data["name"] == "orders.csv"
    assert event.data["size"] == 7
    assert event.data["digest"] == hashlib.sha256(b"content").hexdigest()
    assert event.data["mtime"].endswith("Z")
    assert [row.inode async for row in store.ledger.files("inbox")] == [path.stat().st_ino]


async def test_file_written_in_pieces_is_announced_whole_when_closed(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    with folder.open_root(inbox) as root:
        if not writers.knows_writers(root):
            pytest.skip("this file system does not tell its writers")
    async with running(build()):
        with (inbox / "big.csv").open("w") as file:
            for _ in range(5):
                file.write("piece;")
                file.flush()
                await planned(clock, 2)
                clock.advance(QUIET)
            await planned(clock, 2)
            head_while_open = store.log.head
        (entry,) = await logged(store, 1)

    assert head_while_open == 0
    assert entry.event.data["digest"] == hashlib.sha256(b"piece;" * 5).hexdigest()


async def test_writer_that_was_there_before_the_source_is_waited_for(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    with folder.open_root(inbox) as root:
        if not writers.knows_writers(root):
            pytest.skip("this file system does not tell its writers")
    with (inbox / "slow.csv").open("w") as file:
        file.write("half")
        file.flush()
        async with running(build()):
            await planned(clock, 2)
            clock.advance(10 * QUIET)
            await planned(clock, 2)
            head_while_open = store.log.head
            file.write("whole")
            file.close()
            (entry,) = await logged(store, 1)

    assert head_while_open == 0
    assert entry.event.data["size"] == 9


async def test_rename_into_place_needs_no_time(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    async with running(build()):
        (inbox / "report.csv.tmp").write_text("content")
        (inbox / "report.csv.tmp").rename(inbox / "report.csv")

        assert await subjects(store, 1) == ["report.csv"]


async def test_file_seen_by_a_scan_waits_for_its_quiet_time(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    (inbox / "early.csv").write_text("landed while down")

    async with running(build()):
        await planned(clock, 2)
        clock.advance(QUIET - 0.001)
        head_before = store.log.head
        clock.advance(0.001)
        found = await subjects(store, 1)

    assert head_before == 0
    assert found == ["early.csv"]


async def test_hard_link_into_the_folder_is_announced(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, tmp_path: Path, clock: ManualClock
) -> None:
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("content")

    async with running(build()):
        (inbox / "linked.csv").hardlink_to(elsewhere)
        await planned(clock, 2)
        clock.advance(QUIET)

        assert await subjects(store, 1) == ["linked.csv"]


async def test_files_in_new_folders_are_announced(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, tmp_path: Path, clock: ManualClock
) -> None:
    made_elsewhere = tmp_path / "batch"
    (made_elsewhere / "deep").mkdir(parents=True)
    (made_elsewhere / "deep" / "one.csv").write_text("one")

    async with running(build()):
        made_elsewhere.rename(inbox / "batch")
        await planned(clock, 2)
        clock.advance(QUIET)
        moved_in = await subjects(store, 1)
        (inbox / "x" / "y").mkdir(parents=True)
        (inbox / "x" / "y" / "two.csv").write_text("two")
        async with asyncio.timeout(PATIENCE):
            while store.log.head < 2:
                clock.advance(QUIET)
                await asyncio.sleep(0.01)
        both = await subjects(store, 2)

    assert moved_in == ["batch/deep/one.csv"]
    assert both == ["batch/deep/one.csv", "x/y/two.csv"]


async def test_marked_files_wait_for_their_marker(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    (inbox / "old.csv").write_text("old")
    (inbox / "old.csv.ok").touch()
    (inbox / "unmarked.csv").write_text("not yet")

    async with running(build(complete="marker", marker=".ok")):
        found_by_scan = await subjects(store, 1)
        (inbox / "first.csv").write_text("first")
        (inbox / "second.csv").write_text("second")
        (inbox / "second.csv.ok").touch()
        second = await subjects(store, 2)
        (inbox / "first.csv.ok").touch()
        both = await subjects(store, 3)

    assert found_by_scan == ["old.csv"]
    assert second == ["old.csv", "second.csv"]
    assert both == ["old.csv", "second.csv", "first.csv"]


async def test_quiet_files_must_be_unchanged_for_the_quiet_time(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    growing = inbox / "growing.log"

    async with running(build(complete="quiet")):
        growing.write_text("1")
        await planned(clock, 2)
        clock.advance(QUIET / 2)
        growing.write_text("12")
        clock.advance(QUIET / 2)
        await planned(clock, 2)
        head_after_change = store.log.head
        clock.advance(QUIET)
        (entry,) = await logged(store, 1)

    assert head_after_change == 0
    assert entry.event.data["size"] == 2


async def test_unfinished_hidden_and_excluded_names_are_never_announced(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path
) -> None:
    (inbox / ".staging").mkdir()
    async with running(build(include=["**/*.csv", "**/*.tmp", "**/*.part"], exclude=["skip/**"])):
        (inbox / "skip").mkdir()
        for name in (
            ".hidden.csv",
            "a.csv.tmp",
            "b.csv.part",
            "notes.txt",
            ".staging/c.csv",
            "skip/d.csv",
        ):
            (inbox / name).write_text("no")
        land(inbox / "yes.csv")

        assert await subjects(store, 1) == ["yes.csv"]


async def test_overwritten_file_is_a_new_version_and_a_deleted_one_nothing(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path
) -> None:
    async with running(build()):
        land(inbox / "a.csv", "first")
        await logged(store, 1)
        land(inbox / "a.csv", "second")
        await logged(store, 2)
        (inbox / "a.csv").unlink()
        land(inbox / "b.csv", "other")
        entries = await logged(store, 3)

    assert [(entry.event.subject, entry.event.data["size"]) for entry in entries] == [
        ("a.csv", 5),
        ("a.csv", 6),
        ("b.csv", 5),
    ]
    assert len({entry.event.id for entry in entries}) == 3


async def test_restart_announces_nothing_twice(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    async with running(build()):
        land(inbox / "a.csv")
        land(inbox / "b.csv")
        await logged(store, 2)
    land(inbox / "c.csv")

    async with running(build()):
        await planned(clock, 2)
        clock.advance(QUIET)
        found = await subjects(store, 3)
        land(inbox / "d.csv")
        all_of_them = await subjects(store, 4)

    assert sorted(map(str, found)) == ["a.csv", "b.csv", "c.csv"]
    assert all_of_them[3:] == ["d.csv"]


async def test_overflow_of_the_watch_is_answered_by_a_scan(
    build: Callable[..., FileSourceStage],
    store: Store,
    inbox: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    quiet_library: None,
) -> None:
    lose_hints(monkeypatch)
    async with running(build()):
        await planned(clock, 1)
        land(inbox / "lost.csv")
        library = logging.getLogger("watchdog.observers.inotify_c")
        library.warning("Inotify queue overflowed; filesystem events were lost")
        async with asyncio.timeout(PATIENCE):
            while clock.next_seconds != QUIET:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        clock.advance(QUIET)

        assert await subjects(store, 1) == ["lost.csv"]


async def test_scan_at_the_interval_finds_what_no_hint_told(
    build: Callable[..., FileSourceStage],
    store: Store,
    inbox: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose_hints(monkeypatch)
    async with running(build()):
        await planned(clock, 1)
        land(inbox / "lost.csv")
        clock.advance(SCAN)
        await planned(clock, 2)
        clock.advance(QUIET)

        assert await subjects(store, 1) == ["lost.csv"]


async def test_links_are_not_followed(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, tmp_path: Path, clock: ManualClock
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary.csv").write_text("secret")
    (inbox / "file.csv").symlink_to(outside / "canary.csv")
    (inbox / "folder").symlink_to(outside)

    async with running(build()):
        (inbox / "late.csv").symlink_to(outside / "canary.csv")
        (inbox / "late").symlink_to(outside)
        (outside / "written-later.csv").write_text("secret")
        land(inbox / "real.csv")
        await logged(store, 1)
        clock.advance(SCAN)
        land(inbox / "last.csv")

        assert await subjects(store, 2) == ["real.csv", "last.csv"]


async def test_pipes_and_folders_in_the_place_of_files_stop_nothing(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    (inbox / "swapped.csv").write_text("a file, at first")

    async with running(build()):
        await planned(clock, 2)
        (inbox / "swapped.csv").unlink()
        (inbox / "swapped.csv").mkdir()
        os.mkfifo(inbox / "pipe.csv")
        clock.advance(QUIET)
        land(inbox / "good.csv")

        assert await subjects(store, 1) == ["good.csv"]


async def test_file_that_cannot_be_opened_degrades_and_heals(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    held = inbox / "held.csv"
    held.write_text("content")
    source = build(complete="quiet")
    with held.open("r+") as owner:  # a write lease makes every other opening fail
        fcntl.fcntl(owner, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(owner, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        async with running(source):
            await planned(clock, 2)
            clock.advance(QUIET)
            await until_state(source, SourceState.DEGRADED)
            error = source.status().error
            fcntl.fcntl(owner, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            await planned(clock, 1)
            clock.advance(SCAN)
            await planned(clock, 2)
            clock.advance(QUIET)
            found = await subjects(store, 1)
            state = source.status().state

    assert "held.csv" in error
    assert found == ["held.csv"]
    assert state is SourceState.LIVE


async def test_folder_is_made_at_the_start(
    build: Callable[..., FileSourceStage], store: Store, tmp_path: Path
) -> None:
    place = tmp_path / "deep" / "down"

    async with running(build(path=place)):
        land(place / "a.csv")

        assert await subjects(store, 1) == ["a.csv"]


async def test_folder_that_disappears_stalls_the_source_until_it_is_back(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, clock: ManualClock
) -> None:
    source = build()
    async with running(source):
        land(inbox / "before.csv")
        await logged(store, 1)
        shutil.rmtree(inbox)
        await planned(clock, 1)
        clock.advance(SCAN)
        await until_state(source, SourceState.STALLED)
        error = source.status().error
        was_made_again = inbox.exists()
        inbox.mkdir()
        land(inbox / "meanwhile.csv")
        await planned(clock, 1)
        clock.advance(1)
        await until_state(source, SourceState.LIVE)
        await planned(clock, 2)
        clock.advance(QUIET)
        await logged(store, 2)
        land(inbox / "after.csv")  # the new watch hints
        found = await subjects(store, 3)

    assert str(inbox) in error
    assert found == ["before.csv", "meanwhile.csv", "after.csv"]
    assert not was_made_again


async def test_folder_that_was_replaced_is_watched_anew(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, tmp_path: Path, clock: ManualClock
) -> None:
    source = build()
    async with running(source):
        await planned(clock, 1)
        inbox.rename(tmp_path / "old")
        inbox.mkdir()
        clock.advance(SCAN)
        await planned(clock, 1)
        land(inbox / "new.csv")
        found = await subjects(store, 1)

    assert found == ["new.csv"]


async def test_watch_whose_thread_died_is_replaced(
    build: Callable[..., FileSourceStage],
    store: Store,
    inbox: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watches: list[watch.Watch] = []
    honest = watch.Watch.start

    def start(self: watch.Watch) -> None:
        watches.append(self)
        honest(self)

    monkeypatch.setattr(watch.Watch, "start", start)
    async with running(build()):
        await planned(clock, 1)
        dying: Any = watches[0]._observer
        dying._inotify_fd.stop()
        dying._inotify_fd.join()
        clock.advance(SCAN)
        await planned(clock, 1)
        land(inbox / "hinted.csv")

        assert await subjects(store, 1) == ["hinted.csv"]

    assert len(watches) == 2


async def test_without_a_watch_it_scans_and_gets_one_later(
    build: Callable[..., FileSourceStage],
    store: Store,
    inbox: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_watch() -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    source = build()
    with monkeypatch.context() as patch:
        patch.setattr(watch, "Observer", no_watch)
        async with running(source, until=SourceState.DEGRADED):
            error = source.status().error
            await planned(clock, 1)
            land(inbox / "scanned.csv")
            clock.advance(SCAN)
            await planned(clock, 2)
            clock.advance(QUIET)
            scanned = await subjects(store, 1)

            patch.undo()
            async with asyncio.timeout(PATIENCE):
                while source.status().state is not SourceState.LIVE:
                    clock.advance(SCAN)
                    await asyncio.sleep(0.002)
            land(inbox / "hinted.csv")
            hinted = await subjects(store, 2)

    assert "inotify watch limit reached" in error
    assert scanned == ["scanned.csv"]
    assert hinted == ["scanned.csv", "hinted.csv"]


async def test_names_with_control_characters_are_announced_safely(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path
) -> None:
    async with running(build()):
        land(inbox / "two\nlines.csv")
        (entry,) = await logged(store, 1)

    assert entry.event.subject is not None
    assert entry.event.subject.isprintable()
    assert entry.event.data["name"] == "two\nlines.csv"


async def test_burst_of_files_is_announced_each_exactly_once(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, tmp_path: Path
) -> None:
    names = [f"file-{number:04d}.csv" for number in range(2000)]

    async with running(build(clock=SystemClock())):
        await asyncio.to_thread(lambda: [(inbox / name).write_text(name) for name in names])
        await logged(store, len(names))
        land(inbox / "last.csv")
        found = await subjects(store, len(names) + 1)

    assert sorted(map(str, found)) == [*names, "last.csv"]


async def test_more_files_than_may_wait_are_all_found(
    build: Callable[..., FileSourceStage], store: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.sources.files.source.MAX_CANDIDATES", 20)
    names = [f"file-{number:03d}.csv" for number in range(150)]
    for name in names:
        (inbox / name).write_text(name)

    async with running(build(clock=SystemClock(), quiet=timedelta(milliseconds=1))):
        found = await subjects(store, len(names))

    assert sorted(map(str, found)) == names
