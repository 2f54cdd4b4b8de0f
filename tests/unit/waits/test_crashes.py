"""A crash at any commit point of parking, resolving and resuming loses nothing and does nothing twice."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tidemill.storage.contract import SaidDecision
from tidemill.testing.faults import COMMIT_POINTS, CrashAt
from tidemill.testing.harness import Harness, HarnessError

#: Steps of the story below: what the outside does, each repeated until it was acknowledged.
_PASSAGES = range(1, 7)


async def _again(harness: Harness) -> None:
    if not harness.is_running:
        harness.faults.clear()
        await harness.restart()
        await harness.run_until_idle()


async def _send(harness: Harness) -> None:
    for _ in range(2):
        try:
            await harness.send(type="shop.payment", id="pay", data={"order_id": 7})
        except HarnessError:
            await _again(harness)


async def _decide(harness: Harness, run: str, by: str) -> None:
    for _ in range(3):
        await _again(harness)
        (asked,) = await harness.store.approvals.list(state=None, run=run, before=None, limit=10)
        said = SaidDecision(by, "approve", 5, "api", orjson.dumps({"price": 3}))
        try:
            await harness._unless_crashed(harness.store.approvals.decide(asked.id, said))
        except HarnessError:
            continue
        return


@pytest.mark.parametrize("point", [p for p in COMMIT_POINTS if not p.startswith("deliver")])
async def test_a_crash_anywhere_leaves_every_wait_as_it_was(dags: list[Any], point: str) -> None:
    for passage in _PASSAGES:
        async with Harness(dags=dags) as harness:
            runs = {
                "paid": await harness.start("paid", number=7),
                "nap": await harness.start("nap", seconds=60),
                "publish": await harness.start("publish", title="x"),
                "recent": await harness.start("recent"),
            }
            harness.faults.append(CrashAt(point, passage))

            await harness.run_until_idle()
            await _again(harness)
            await _send(harness)
            await harness.run_until_idle()
            await _again(harness)
            for by in ("ann", "bob"):
                await _decide(harness, runs["publish"], by)
            await harness.run_until_idle()
            await _again(harness)
            await harness.advance(60)
            await _again(harness)
            await harness.advance(60)

            found = {name: await harness.run(run) for name, run in runs.items()}
            assert {name: view.state for name, view in found.items()} == {
                "paid": "succeeded",
                "nap": "succeeded",
                "publish": "succeeded",
                "recent": "waiting",
            }, (point, passage)
            assert found["paid"].result("keep")["id"] == "pay"
            assert found["publish"].result("keep")["by"] == ["ann", "bob"]
            kinds = [row.kind for row in await _waits(harness)]
            assert kinds == ["event"], (point, passage)


async def _waits(harness: Harness) -> list[Any]:
    counts = await harness.store.waits.counts()
    return [type("Row", (), {"kind": kind}) for kind, count in counts.items() for _ in range(count)]
