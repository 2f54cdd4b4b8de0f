"""A storm of files: none missed, none early, none doubled, within bounded time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.folder_scene import Scene, digest

from tidemill.clock import SystemClock
from tidemill.storage.sqlite import open_store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify")

#: Seconds until the last one must be announced.
SECONDS = 60.0
FOLDERS = 50


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "inbox").mkdir()
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=SystemClock())
    yield Scene(tmp_path / "inbox", store)
    await store.close()


def blow(folder: Path, files: int) -> None:
    """In a thread: a third renamed into place, a third written in two pieces, a third linked or made in new folders."""
    for number in range(files):
        inside = folder / f"{number % FOLDERS:02d}"
        if number < FOLDERS:
            inside.mkdir()
        place = inside / f"{number:06d}.csv"
        match number % 3:
            case 0:
                unfinished = inside / f".{number:06d}"
                unfinished.write_text(f"whole {number}")
                unfinished.rename(place)
            case 1:
                with place.open("w") as file:
                    file.write("whole ")
                    file.flush()
                    file.write(str(number))
            case _:
                place.write_text(f"whole {number}")


@pytest.mark.timeout(SECONDS * 2)
async def test_storm_of_files_is_announced_each_exactly_once_and_whole(scene: Scene) -> None:
    await survive(scene, 20_000)


async def survive(scene: Scene, files: int) -> None:
    """Let the storm come: each file is announced exactly once, whole, and in time."""
    source = scene.build(scan_seconds=5.0)
    begun = time.monotonic()

    async with scene.running(source):
        await asyncio.to_thread(blow, scene.folder, files)
        async with asyncio.timeout(SECONDS):
            while scene.store.log.head < files:
                await scene.store.log.wait_for_event(scene.store.log.head)
        seconds = time.monotonic() - begun
        await scene.passed("last/marker.csv")
    entries = await scene.store.log.read(0, files + 100)

    counts = Counter(entry.event.subject for entry in entries)
    wanted = [f"{number % FOLDERS:02d}/{number:06d}.csv" for number in range(files)]
    assert counts == Counter([*wanted, "last/marker.csv"])
    early = [
        entry.event.subject
        for entry in entries
        if entry.event.subject != "last/marker.csv"
        if entry.event.data["digest"] != digest(f"whole {int(Path(str(entry.event.subject)).stem)}")
    ]
    assert early == []
    assert seconds < SECONDS
    print(f"{files} files announced in {seconds:.1f} s")  # noqa: T201 - the figure
