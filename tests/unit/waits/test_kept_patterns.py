"""Patterns are kept for as long as somebody may wait for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.testing.harness import Harness

WORKFLOW = """
from tidemill import dag, sleep, wait_for_event

@dag
def waits():
    sleep(60, task_id="nap") >> wait_for_event({"type": ["%s"]}, task_id="event")
"""


def write(root: Path, kind: str) -> None:
    (root / "workflows").mkdir(exist_ok=True)
    (root / "workflows" / "waits.py").write_text(WORKFLOW % kind, "utf-8")


async def kept(harness: Harness) -> list[str]:
    """The types of events that patterns are kept for."""
    _, bodies = await harness.store.waits.patterns()
    return sorted(
        kind for kind in ("first", "second") if any(kind.encode() in body for body in bodies.values())
    )


async def test_what_nobody_waits_for_any_more_is_forgotten_at_the_next_start(tmp_path: Path) -> None:
    write(tmp_path, "first")
    async with Harness(root=tmp_path) as harness:
        run = await harness.start("waits")
        await harness.advance(60)
        write(tmp_path, "second")

        await harness.restart()
        while_it_is_waited_for = await kept(harness)
        await harness.send(type="first", id="1")
        await harness.run_until_done()
        await harness.restart()

        assert (await harness.run(run)).state == "succeeded"
        assert while_it_is_waited_for == ["first", "second"]
        assert await kept(harness) == ["second"]


@pytest.mark.parametrize("restarts", [1, 2])
async def test_an_older_version_that_waits_later_is_woken(tmp_path: Path, restarts: int) -> None:
    write(tmp_path, "first")
    async with Harness(root=tmp_path) as harness:
        run = await harness.start("waits")
        await harness.run_until_idle()
        write(tmp_path, "second")
        for _ in range(restarts):
            await harness.restart()
        forgotten = await kept(harness)

        await harness.advance(60)
        await harness.send(type="first", id="1")
        await harness.run_until_idle()

        assert forgotten == ["second"]
        assert (await harness.run(run)).state == "succeeded"
