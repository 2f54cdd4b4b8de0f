"""Nothing outside the folder is read or announced, whatever is swapped while the source looks."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.folder_scene import Scene, digest

from tidemill.clock import SystemClock
from tidemill.project.model import Archive
from tidemill.sources.files.reader import Landed, Reader, Request
from tidemill.sources.files.scanner import Scanner
from tidemill.sources.files.selection import Selection
from tidemill.sources.files.version import Announced
from tidemill.storage.sqlite import open_store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs directory descriptors")

#: How long things are swapped, in seconds.
SWAPPED = 1.5
CANARY = "the canary's own content"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "inbox").mkdir()
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=SystemClock())
    yield Scene(tmp_path / "inbox", store)
    await store.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for path in ("data.csv", "deep/data.csv"):
        (outside / path).write_text(CANARY)
    return outside


@contextlib.contextmanager
def swapping(inside: Path, outside: Path) -> Iterator[None]:
    """A folder, a folder in it and a file become links to the outside and back, as fast as it goes."""
    (inside / "real" / "deep").mkdir(parents=True)
    for path in ("real/data.csv", "real/deep/data.csv"):
        (inside / path).write_text("inside")
    (inside / "real").rename(inside / "folder")
    (inside / ".link").symlink_to(outside)
    (inside / ".file").symlink_to(outside / "data.csv")
    (inside / "file.csv").write_text("inside")
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            with contextlib.suppress(FileNotFoundError):
                (inside / "folder").rename(inside / ".kept")
                (inside / ".link").rename(inside / "folder")
                (inside / "folder").rename(inside / ".link")
                (inside / ".kept").rename(inside / "folder")
                (inside / "file.csv").rename(inside / ".kept.csv")
                (inside / ".file").rename(inside / "file.csv")
                (inside / "file.csv").rename(inside / ".file")
                (inside / ".kept.csv").rename(inside / "file.csv")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        ended.set()
        swapper.join()


def test_reader_and_scanner_never_get_outside_while_links_are_swapped_in(scene: Scene, outside: Path) -> None:
    reader = Reader(scene.folder, Announced(), marker=None, ask_writers=False)
    scanner = Scanner(scene.folder, Selection(["**/*"]), is_known=lambda *_: False)
    paths = ("folder/data.csv", "folder/deep/data.csv", "file.csv")
    canaries = {path.stat().st_ino for path in outside.rglob("*.csv")}
    digests, inodes, read = set(), set(), 0

    with swapping(scene.folder, outside):
        end = time.monotonic() + SWAPPED
        while time.monotonic() < end:
            for finding in reader.read([Request(path, None, complete=True) for path in paths]):
                if isinstance(finding, Landed):
                    read += 1
                    digests.add(finding.digest)
            inodes |= {sighting.version.inode for sighting in scanner.scan(limit=100).sightings}

    assert read > 0
    assert digests == {digest("inside")}
    assert inodes
    assert not inodes & canaries


async def test_source_announces_and_archives_nothing_from_outside_while_links_are_swapped_in(
    scene: Scene, outside: Path
) -> None:
    source = scene.build(
        scan_seconds=0.02,
        watch="polling",
        poll=timedelta(milliseconds=20),
        quiet=timedelta(milliseconds=1),
        archive=Archive(folder=scene.folder.parent / "archive", when="announced"),
    )

    async with scene.running(source):
        with swapping(scene.folder, outside):
            end = time.monotonic() + SWAPPED
            number = 0
            while time.monotonic() < end:
                scene.land(f"steady-{number}.csv", "inside")
                number += 1
                await scene.logged(number // 2)
        await scene.passed()
    entries = await scene.logged(1)

    assert digest(CANARY) not in {entry.event.data["digest"] for entry in entries}
    assert sorted(path.read_text() for path in outside.rglob("*.csv")) == [CANARY, CANARY]
    archived = [path for path in (scene.folder.parent / "archive").rglob("*") if path.is_file()]
    assert CANARY not in {path.read_text() for path in archived}
