"""Stages that one node runs: what ends one, and what does not."""

from __future__ import annotations

import asyncio

from tidemill.errors import StoreUnavailable
from tidemill.service.keyed import KeyedStages
from tidemill.storage.shards import Shards
from tidemill.testing.clock import ManualClock


async def test_a_store_without_an_answer_is_no_end_of_a_stage() -> None:
    clock, begun, failed = ManualClock(), [], []
    keyed = KeyedStages(Shards(), clock=clock, failed=lambda stage, error: failed.append((stage, error)))

    async def work() -> None:
        begun.append(clock.now_us())
        if len(begun) < 3:
            raise StoreUnavailable("gone for a moment")
        await asyncio.Event().wait()

    keyed.add("source s", work)
    keyed.start()
    for _ in range(40):
        clock.advance(0.25)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    runs = keyed.runs("source s")
    await keyed.stop()

    assert (len(begun), failed, runs) == (3, [], True)


async def test_a_stage_that_fails_by_itself_is_told_of() -> None:
    failed = []
    keyed = KeyedStages(
        Shards(), clock=ManualClock(), failed=lambda stage, error: failed.append((stage, repr(error)))
    )

    async def work() -> None:
        raise RuntimeError("a mistake")

    keyed.add("source s", work)
    keyed.start()
    await asyncio.sleep(0.01)

    assert failed == [("source s", "RuntimeError('a mistake')")]
