"""The archive when the process is killed at any line that archives or drops: each event is there, or in the log."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conformance import archive_child
from tests.conformance.archive_child import DROPPED, SEGMENT, archive_at, keep

from tidemill.clock import SystemClock
from tidemill.events.event import Event
from tidemill.keeping import retention
from tidemill.storage.contract import Append, RouteBatch
from tidemill.storage.sqlite import open_store

#: One segment that goes, and events behind it that stay.
EVENTS = SEGMENT + 2
#: Lines that are passed at least: as many are told of as there are steps from the first look to the last file.
LEAST = 40


async def prepare(folder: Path) -> None:
    folder.mkdir()
    store = await open_store(folder / "tidemill.db", clock=SystemClock())
    events = [Event(id=str(n), source="/s", type="t", data={"n": n}) for n in range(1, EVENTS + 1)]
    await store.log.append(Append(events=events))
    await store.runs.route(RouteBatch(expected=0, cursor=EVENTS))
    await store.close()


async def logged(folder: Path) -> dict[int, object]:
    """Data of the events in the log, by position."""
    store = await open_store(folder / "tidemill.db", clock=SystemClock())
    try:
        return {one.position: one.event.data for one in await store.log.read(0, 100)}
    finally:
        await store.close()


def archived(folder: Path, kind: str) -> dict[int, object]:
    """Data of the events in the archive, by position."""
    return {one.logged.position: one.logged.event.data for one in archive_at(folder, kind).read()}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["folder", "url"])
async def test_no_event_is_lost_or_kept_twice_when_keeping_is_killed_at_any_line(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SEGMENT", SEGMENT)
    monkeypatch.setattr(retention, "_DROPPED", DROPPED)
    everything = {n: {"n": n} for n in range(1, EVENTS + 1)}
    kept, gone = {n: everything[n] for n in range(SEGMENT + 1, EVENTS + 1)}, set(range(1, SEGMENT + 1))
    await prepare(tmp_path / "prepared")
    (tmp_path / "work").mkdir()

    command = [
        sys.executable,
        archive_child.__file__,
        str(tmp_path / "prepared"),
        str(tmp_path / "work"),
        kind,
    ]
    swept = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=150
    )

    assert swept.returncode == 0, swept.stderr
    copies = sorted((tmp_path / "work").iterdir(), key=lambda path: int(path.name))
    assert len(copies) > LEAST
    stands = set()
    for folder in copies:
        log, archive = await logged(folder), archived(folder, kind)
        assert log | archive == everything, folder.name
        assert archive.keys() in (set(), gone), folder.name
        stands.add((len(log), len(archive)))
        await keep(folder, kind)  # whoever comes next goes on
        assert await logged(folder) == kept, folder.name
        assert archived(folder, kind).keys() == gone, folder.name
    # Killed before the file, between the file and the log, between two transactions, and after all.
    assert stands >= {
        (EVENTS, 0),
        (EVENTS, SEGMENT),
        (EVENTS - DROPPED, SEGMENT),
        (EVENTS - SEGMENT, SEGMENT),
    }
