"""R1: recorded events told again, against appending the same events with nothing else."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.bench import FOLDER
from benchmarks.report import report
from tidemill.clock import SystemClock
from tidemill.events.event import Event
from tidemill.events.lifecycle import replayed
from tidemill.keeping.replay import Replayer
from tidemill.storage.contract import Append
from tidemill.storage.replay import Replay, ReplayState
from tidemill.storage.sqlite import open_store

__all__ = ["r1"]

_EVENTS = 50_000
#: As many as a replay tells in one transaction.
_BATCH = 256


def _events() -> list[Event]:
    data = {"order": 7, "customer": "c-1024", "items": [{"sku": f"sku-{n}", "count": n} for n in range(8)]}
    return [Event(id=str(n), source="/bench", type="com.example.order", data=data) for n in range(_EVENTS)]


async def _replay(folder: Path) -> float:
    clock = SystemClock()
    store = await open_store(folder / "replay.db", clock=clock)
    events = _events()
    for start in range(0, _EVENTS, 1000):
        await store.log.append(Append(events=events[start : start + 1000]))
    begun = time.perf_counter()
    await store.replays.add(Replay(id="r", at=0, position=0, until=_EVENTS))
    work = asyncio.create_task(Replayer(store, None, clock=clock).run())
    while True:
        found = await store.replays.get("r")
        if found is not None and found.state is ReplayState.DONE:
            break
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - begun
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    await store.close()
    return _EVENTS / seconds


async def _append(folder: Path) -> float:
    store = await open_store(folder / "append.db", clock=SystemClock())
    copies = [replayed(event, replay="r", position=1, triggers=()) for event in _events()]
    begun = time.perf_counter()
    for start in range(0, _EVENTS, _BATCH):
        await store.log.append(Append(events=copies[start : start + _BATCH]))
    seconds = time.perf_counter() - begun
    await store.close()
    return _EVENTS / seconds


async def r1() -> None:
    """Recorded events told again per second."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rates: list[tuple[float, float]] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            rates.append((await _append(Path(folder)), await _replay(Path(folder))))
    floor, value = max(rate for rate, _ in rates), max(rate for _, rate in rates)
    report("R1", value, "events/s", floor=floor, events=_EVENTS, batch=_BATCH)
