"""Moving files into the archive: when, what, and what happens when it is cut off or gets in each other's way."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.integration.folder_scene import Scene, until

from tidemill.clock import SystemClock
from tidemill.events import lifecycle
from tidemill.events.event import LoggedEvent
from tidemill.ids import new_id
from tidemill.project.model import Archive, FileSet
from tidemill.sources.contract import SourceState
from tidemill.sources.files.moving import Moved, move
from tidemill.sources.files.version import Version
from tidemill.storage.contract import (
    Disposition,
    DispositionKind,
    NewRun,
    Recorded,
    RouteBatch,
    RunEnd,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify")


@pytest.fixture(params=DATABASES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "inbox").mkdir()
    async with opened(request, tmp_path, SystemClock()) as store:
        yield Scene(tmp_path / "inbox", store)


async def start_run(scene: Scene, logged: LoggedEvent) -> str:
    """Route one event to one run."""
    store, at = scene.store, scene.clock.now_us()
    run = NewRun(
        run_id=new_id(),
        dag="load",
        version="1",
        trigger="landed",
        position=logged.position,
        event_source=logged.event.source,
        event_id=logged.event.id,
        parameters=b"{}",
        queued_at=at,
        correlation_id="c",
        hop_count=0,
    )
    disposition = Disposition(logged.position, "landed", DispositionKind.RUN, run.run_id)
    await store.runs.route(
        RouteBatch(expected=store.log.routed, cursor=logged.position, dispositions=[disposition], runs=[run])
    )
    return run.run_id


async def end_run(scene: Scene, logged: LoggedEvent, run_id: str, state: str) -> None:
    at = scene.clock.now_us()
    event = lifecycle.run_completed(
        dag="load",
        run_id=run_id,
        state=state,
        version="1",
        trigger="landed",
        at_us=at,
        event_source=logged.event.source,
        event_id=logged.event.id,
        result=None,
        error=None,
        parameters=b"{}",
        started_at=at,
        queued_at=at,
        correlation_id="c",
        causation_id=logged.event.id,
        hop_count=1,
        traceparent=None,
    )
    row = Recorded(run_id, 0, at, b"", RunEnd(state, at, at), [event])
    await scene.store.runs.record([row])


def archive_of(scene: Scene, **fields: Any) -> Archive:
    return Archive(folder=scene.folder / "archive", **fields)


async def test_announced_files_move_at_once_to_where_their_event_says(scene: Scene) -> None:
    async with scene.running(scene.build(archive=archive_of(scene, when="announced"))):
        scene.land("day/a.csv", "content")
        (entry,) = await scene.logged(1)
        place = Path(entry.event.data["archived_to"])
        await until(lambda: not (scene.folder / "day" / "a.csv").exists())

    assert place.read_text() == "content"
    assert place.is_relative_to(scene.folder / "archive")


async def test_files_move_when_every_run_that_they_started_has_succeeded(scene: Scene) -> None:
    async with scene.running(scene.build(archive=archive_of(scene))):
        scene.land("good.csv")
        scene.land("bad.csv")
        entries = {str(entry.event.subject): entry for entry in await scene.logged(2)}
        runs = {entry.event.subject: await start_run(scene, entry) for entry in entries.values()}
        for name, state in (("bad.csv", "failed"), ("good.csv", "succeeded")):
            await end_run(scene, entries[name], runs[name], state)
        await until(lambda: not (scene.folder / "good.csv").exists())

    assert (scene.folder / "archive" / "good.csv").exists()
    assert (scene.folder / "bad.csv").exists()
    assert "archived_to" not in entries["good.csv"].event.data


async def test_runs_that_ended_while_it_was_down_archive_their_files_at_the_start(scene: Scene) -> None:
    async with scene.running(scene.build(archive=archive_of(scene))):
        scene.land("a.csv")
        (entry,) = await scene.logged(1)
    await end_run(scene, entry, await start_run(scene, entry), "succeeded")

    async with scene.running(scene.build(archive=archive_of(scene))):
        await until(lambda: not (scene.folder / "a.csv").exists())

    assert (scene.folder / "archive" / "a.csv").exists()


async def test_files_of_runs_that_go_on_and_of_no_runs_stay_however_often_scans_ask(scene: Scene) -> None:
    async with scene.running(scene.build(archive=archive_of(scene), scan_seconds=0.05)):
        scene.land("a.csv")
        scene.land("unmatched.csv")
        entries = {str(entry.event.subject): entry for entry in await scene.logged(2)}
        run_id = await start_run(scene, max(entries.values(), key=lambda entry: entry.position))
        await scene.passed()  # scans have asked meanwhile
        moved_before = (scene.folder / "archive").exists()
        last = max(entries.values(), key=lambda entry: entry.position)
        await end_run(scene, last, run_id, "succeeded")
        await until(lambda: not (scene.folder / str(last.event.subject)).exists())

    assert not moved_before
    assert {path.name for path in (scene.folder / "archive").iterdir()} == {str(last.event.subject)}


async def test_archived_files_are_not_announced_again_and_the_archive_is_not_watched(scene: Scene) -> None:
    source = scene.build(archive=archive_of(scene, when="announced"))
    async with scene.running(source):
        scene.land("a.csv")
        await until(lambda: not (scene.folder / "a.csv").exists())
        await scene.passed()
        await until(lambda: not (scene.folder / "last.csv").exists())
    async with scene.running(scene.build(archive=archive_of(scene, when="announced"))):
        await scene.passed("later.csv")

    assert await scene.subjects(3) == ["a.csv", "last.csv", "later.csv"]


async def test_whole_sets_move_with_the_file_that_speaks_for_them(scene: Scene) -> None:
    rule = FileSet(success="_SUCCESS")
    async with scene.running(scene.build(file_set=rule, archive=archive_of(scene, when="announced"))):
        for name in ("out/a.csv", "out/b.csv", "out/_SUCCESS"):
            scene.land(name)
        (entry,) = await scene.logged(1)
        await until(lambda: not list((scene.folder / "out").iterdir()))

    place = Path(entry.event.data["archived_to"])
    assert sorted(path.name for path in (place / "out").iterdir()) == ["_SUCCESS", "a.csv", "b.csv"]


async def test_markers_go_along(scene: Scene) -> None:
    options: dict[str, Any] = {"complete": "marker", "archive": archive_of(scene, when="announced")}
    async with scene.running(scene.build(**options)):
        scene.land("a.csv")
        scene.land("a.csv.done")
        await until(lambda: not [path for path in scene.folder.iterdir() if path.name != "archive"])


async def test_archive_that_cannot_be_written_degrades_and_heals(scene: Scene) -> None:
    blocked = scene.folder.parent / "archive"
    blocked.write_text("a file where the archive should be")
    source = scene.build(archive=Archive(folder=blocked, when="announced"), scan_seconds=0.05)

    async with scene.running(source):
        scene.land("a.csv")
        await until(lambda: source.status().state is SourceState.DEGRADED)
        error = source.status().error
        blocked.unlink()
        await until(lambda: not (scene.folder / "a.csv").exists())
        await until(lambda: source.status().state is SourceState.LIVE)

    assert "cannot be archived" in error


# ── one move ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["one device", "two devices", "no links"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose archive is on the same file system, on another one, or on one without hard links."""
    honest = os.link

    def refuse(*names: Any, **places: Any) -> None:
        if request.param == "no links":
            raise OSError(1, "Operation not permitted")
        if places["src_dir_fd"] != places["dst_dir_fd"]:
            raise OSError(18, "Invalid cross-device link")
        honest(*names, **places)

    if request.param != "one device":
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def made(root: Path, name: str = "a.csv", content: str = "content") -> Version:
    (root / name).write_text(content)
    return Version.from_stat((root / name).stat())


def moved(root: Path, version: Version | None, name: str = "a.csv") -> Moved:
    return move(root, name, version, archive=root.parent / "archive", place=f"x/{name}", mark="0123abcd")


def test_move_takes_content_time_and_mode_along(root: Path) -> None:
    version = made(root)
    (root / "a.csv").chmod(0o640)

    outcome = moved(root, version)

    there = (root.parent / "archive" / "x" / "a.csv").stat()
    assert outcome is Moved.MOVED
    assert (there.st_size, there.st_mtime_ns, there.st_mode & 0o777) == (7, version.mtime_ns, 0o640)
    assert list(root.iterdir()) == []


def test_move_again_finds_nothing_to_do(root: Path) -> None:
    version = made(root)
    moved(root, version)

    assert moved(root, version) is Moved.GONE


def test_move_leaves_another_version_alone(root: Path) -> None:
    version = made(root)
    made(root, content="newer content")

    assert moved(root, version) is Moved.GONE
    assert (root / "a.csv").read_text() == "newer content"


def test_move_overwrites_nothing_in_the_archive(root: Path) -> None:
    archive = root.parent / "archive" / "x"
    archive.mkdir(parents=True)
    (archive / "a.csv").write_text("somebody else's")

    moved(root, made(root))

    assert (archive / "a.csv").read_text() == "somebody else's"
    assert (archive / "a.csv.0123abcd").read_text() == "content"


def test_move_follows_no_link_out_of_the_archive(root: Path) -> None:
    (root.parent / "archive").mkdir()
    (root.parent / "outside").mkdir()
    (root.parent / "archive" / "x").symlink_to(root.parent / "outside")

    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        moved(root, made(root))
    assert list((root.parent / "outside").iterdir()) == []
    assert (root / "a.csv").exists()


_CALLS = ("link", "rename", "unlink", "stat", "fsync", "mkdir")


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("number", range(4))
def test_move_cut_off_anywhere_is_ended_by_the_next_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    version = made(root)
    honest: Callable[..., Any] = getattr(os, call)
    count = 0

    class Killed(BaseException):
        pass

    def dying(*arguments: Any, **places: Any) -> Any:
        nonlocal count
        count += 1
        if count > number:
            raise Killed
        return honest(*arguments, **places)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, dying)
        with contextlib.suppress(Killed):
            moved(root, version)
    places = [root / "a.csv", root.parent / "archive" / "x" / "a.csv"]
    assert any(place.exists() and place.read_text() == "content" for place in places)

    moved(root, version)

    assert not places[0].exists()
    assert places[1].read_text() == "content"
    assert not list((root.parent / "archive" / "x").glob("a.csv.*"))


def test_newer_file_that_takes_the_name_at_the_last_moment_keeps_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = made(root)
    honest = os.rename

    def replaced_first(name: str, *rest: Any, **places: Any) -> None:
        if name == "a.csv":
            monkeypatch.setattr(os, "rename", honest)
            (root / "b").write_text("newer content")
            (root / "b").rename(root / "a.csv")
        honest(name, *rest, **places)

    monkeypatch.setattr(os, "rename", replaced_first)

    moved(root, version)

    assert (root / "a.csv").read_text() == "newer content"
    assert (root.parent / "archive" / "x" / "a.csv").read_text() == "content"
