"""Tasks that depend on the past: a run waits where the run before it has not got to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import dag, task
from tidemill.engine import backlog
from tidemill.engine.past import PastGate
from tidemill.storage.contract import NewRun
from tidemill.testing.harness import MakeHarness


class Gates:
    """Lets runs go on by name."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.failing: set[str] = set()
        self._events: dict[str, asyncio.Event] = {}

    def gate(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())

    async def enter(self, name: str) -> None:
        self.begun.append(name)
        await self.gate(name).wait()
        if name in self.failing:
            raise ValueError(name)


def make(gates: Gates, *, most: int = 16) -> Any:
    @task
    async def free(name: str) -> str:
        return name

    @task(depends_on_past=True)
    async def load(name: str, after: str) -> None:
        await gates.enter(name)

    @dag(max_active_runs=most)
    def work(name: str) -> Any:
        return load(name, free(name))

    return work


async def test_task_waits_for_the_same_task_of_the_run_before(tidemill_harness: MakeHarness) -> None:
    gates = Gates()

    async with tidemill_harness(dags=[make(gates)]) as harness:
        runs = [await harness.start("work", name=name) for name in ("a", "b", "c")]
        await harness.run_until_idle(attempts=False)
        assert gates.begun == ["a"]
        assert (await harness.run(runs[1])).states == {"free": "succeeded", "load": "ready"}
        gates.gate("a").set()
        await harness.run_until_idle(attempts=False)
        assert gates.begun == ["a", "b"]
        for name in ("b", "c"):
            gates.gate(name).set()
        await harness.run_until_idle()

        assert gates.begun == ["a", "b", "c"]
        assert harness.clock.planned == 0
        await check_store(harness, ended=3)


async def test_failure_holds_back_the_next_run_until_it_is_made_again(tidemill_harness: MakeHarness) -> None:
    gates = Gates()
    gates.failing.add("a")

    async with tidemill_harness(dags=[make(gates)]) as harness:
        first, second = [await harness.start("work", name=name) for name in ("a", "b")]
        for name in ("a", "b"):
            gates.gate(name).set()
        await harness.run_until_idle()
        await harness.advance(60)
        assert ((await harness.run(first)).state, gates.begun) == ("failed", ["a"])
        await harness.retry(first)
        await harness.run_until_idle()
        assert gates.begun == ["a", "a"]
        gates.failing.clear()
        await harness.retry(first)
        await harness.run_until_idle()

        assert gates.begun == ["a", "a", "a", "b"]
        assert (await harness.run(second)).state == "succeeded"


async def test_failure_that_is_marked_lets_the_next_run_go_on(tidemill_harness: MakeHarness) -> None:
    gates = Gates()
    gates.failing.add("a")

    async with tidemill_harness(dags=[make(gates)]) as harness:
        first, second = [await harness.start("work", name=name) for name in ("a", "b")]
        for name in ("a", "b"):
            gates.gate(name).set()
        await harness.run_until_idle()
        await harness.store.pasts.mark("work", first, ["load"])
        await harness.advance(5)
        await harness.run_until_idle()

        assert (await harness.run(second)).state == "succeeded"


async def test_past_survives_a_kill(tidemill_harness: MakeHarness) -> None:
    gates = Gates()

    async with tidemill_harness(dags=[make(gates)]) as harness:
        await harness.start("work", name="a")
        gates.gate("a").set()
        await harness.run_until_idle()
        await harness.start("work", name="b")
        await harness.start("work", name="c")
        await harness.run_until_idle(attempts=False)
        await harness.kill()
        await harness.restart()
        await harness.run_until_idle(attempts=False)
        assert gates.begun == ["a", "b", "b"]
        for name in ("b", "c"):
            gates.gate(name).set()
        await harness.run_until_done()

        assert gates.begun == ["a", "b", "b", "c"]
        await check_store(harness, ended=3)


async def test_run_before_that_did_not_ask_is_looked_up_in_its_history(
    monkeypatch: pytest.MonkeyPatch, tidemill_harness: MakeHarness
) -> None:
    gates = Gates()

    async with tidemill_harness(dags=[make(gates)]) as harness:
        with monkeypatch.context() as patched:  # as a version of the DAG that does not depend on the past
            patched.setattr(PastGate, "outcomes", lambda _self, _live: ())
            await harness.start("work", name="a")
            gates.gate("a").set()
            await harness.run_until_idle()
        await harness.start("work", name="b")
        gates.gate("b").set()
        await harness.run_until_idle()

        assert gates.begun == ["a", "b"]


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_runs_that_come_out_of_order_never_wait_for_one_that_cannot_begin(
    is_reversed: bool, monkeypatch: pytest.MonkeyPatch, tidemill_harness: MakeHarness
) -> None:
    gates = Gates()
    taken = backlog.Backlog.add

    def add(self: backlog.Backlog, runs: Sequence[NewRun]) -> None:
        taken(self, list(reversed(runs)) if is_reversed else runs)

    monkeypatch.setattr(backlog.Backlog, "add", add)
    async with tidemill_harness(dags=[make(gates, most=1)]) as harness:
        for name in "abcdef":
            gates.gate(name).set()
            await harness.start("work", name=name)
        await harness.run_until_idle()

        assert gates.begun == list("abcdef")
        await check_store(harness, ended=6)
