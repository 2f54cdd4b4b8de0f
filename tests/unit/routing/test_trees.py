"""Everything that an event caused has ended: told once, whatever happens to the router meanwhile."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tidemill import dag, task
from tidemill.events.lifecycle import Type
from tidemill.routing import router
from tidemill.testing.harness import Harness, MakeHarness


@task
async def keep(value: Any = None) -> Any:
    return value


@task
async def fail() -> None:
    raise ValueError("no")


@dag
def root() -> Any:
    return keep(1)


@dag
def left() -> Any:
    return keep(2)


@dag
def right() -> Any:
    return fail()


@dag
def told(tree: str, runs: dict[str, int]) -> Any:
    return keep([tree, runs])


TRIGGERS = """
triggers:
  - name: begin
    dag: root
    filters: [{exact: {type: order}}]
  - name: left
    dag: left
    filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: /tidemill/dags/root}}]
  - name: right
    dag: right
    filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: /tidemill/dags/left}}]
"""
TOLD = """
  - name: told
    dag: told
    filters: [{exact: {type: dev.tidemill.tree.completed.v1}}]
    parameters: {tree: $.subject, runs: $.data.runs}
"""


@pytest.fixture
def harness(tidemill_harness: MakeHarness) -> MakeHarness:
    return partial(tidemill_harness, dags=[root, left, right, told], triggers=TRIGGERS + TOLD)


async def trees(harness: Harness) -> list[tuple[str, dict[str, int]]]:
    return [(one.id, one.data["runs"]) for one in await harness.events(type=Type.TREE_COMPLETED.value)]


async def test_tree_ends_with_the_last_run_of_a_chain(harness: MakeHarness) -> None:
    async with harness() as h:
        await h.send(type="order", id="o1")
        await h.run_until_done()

        assert await trees(h) == [("o1", {"failed": 1, "succeeded": 2})]


async def test_event_of_a_tree_starts_runs_which_do_not_end_it_again(harness: MakeHarness) -> None:
    async with harness() as h:
        await h.send(type="order", id="o1")
        await h.run_until_done()

        (run,) = await h.runs(dag="told")
        assert (run.state, run.correlation_id, run.parameters) == (
            "succeeded",
            "o1",
            b'{"tree":"o1","runs":{"failed":1,"succeeded":2}}',
        )
        assert len(await trees(h)) == 1
        assert await h.store.trees.ended() == []


async def test_trees_of_many_events_end_by_themselves(harness: MakeHarness) -> None:
    async with harness() as h:
        for number in range(20):
            await h.send(type="order", id=f"o{number}")
        await h.run_until_done()

        assert sorted(name for name, _ in await trees(h)) == sorted(f"o{number}" for number in range(20))


async def test_event_that_causes_nothing_has_no_tree(harness: MakeHarness) -> None:
    async with harness() as h:
        await h.send(type="other", id="o1")
        await h.run_until_done()

        assert await trees(h) == []


async def test_nothing_is_kept_of_trees_where_nobody_wants_to_be_told(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[root, left, right], triggers=TRIGGERS) as h:
        await h.send(type="order", id="o1")
        await h.run_until_done()

        assert await trees(h) == []
        assert not await h.store.trees.is_open("o1")
        assert await h.store.trees.summary("o1") is None


@pytest.mark.parametrize("point", ["append", "route", "record"])
@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_tree_is_told_of_once_wherever_the_process_is_killed(
    harness: MakeHarness, point: str, moment: str, nth: int
) -> None:
    async with harness() as h:
        await h.send(type="order", id="o1")
        h.crash_at(f"{point}.{moment}", nth)
        await h.run_until_idle()
        if not h.is_running:
            await h.restart()
        else:
            h.faults.clear()
        await h.run_until_done()

        assert [name for name, _ in await trees(h)] == ["o1"]
        assert len(await h.runs(dag="told")) == 1


async def test_runs_that_were_open_when_trees_began_to_be_followed_belong_to_theirs(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[root, left, right, told], triggers=TRIGGERS) as h:
        await h.send(type="order", id="o1")
        h.crash_at("record.before_commit")
        await h.run_until_idle()
        await h.restart(triggers=TRIGGERS + TOLD)
        await h.run_until_done()

        assert await trees(h) == [("o1", {"failed": 1, "succeeded": 2})]


async def test_runs_that_ended_while_nobody_followed_trees_keep_none_open(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[root, left, right, told], triggers=TRIGGERS + TOLD) as h:
        await h.send(type="order", id="o1")
        h.crash_at("record.before_commit")
        await h.run_until_idle()
        await h.restart(triggers=TRIGGERS)
        await h.run_until_done()
        await h.restart(triggers=TRIGGERS + TOLD)
        await h.send(type="order", id="o2")
        await h.run_until_done()

        assert [name for name, _ in await trees(h)] == ["o1", "o2"]


DERIVED = """
derive:
  - name: passed
    filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: /tidemill/dags/root}}]
    event: {type: passed.on}
    data: {n: 1}
  - name: further
    filters: [{exact: {type: passed.on}}]
    event: {type: passed.further}
triggers:
  - name: begin
    dag: root
    filters: [{exact: {type: order}}]
  - name: left
    dag: left
    filters: [{exact: {type: passed.further}}]
"""


WORKFLOWS = """
from tidemill import dag, task

@task
async def keep(value: int) -> int:
    return value

@dag
def root():
    keep(1)

@dag
def left():
    keep(2)

@dag
def told(tree: str, runs: dict[str, int]):
    keep(3)
"""


@pytest.mark.parametrize("batch", [1, 2, 512])
async def test_events_derived_on_the_way_hold_the_tree_open(
    monkeypatch: pytest.MonkeyPatch, tidemill_harness: MakeHarness, tmp_path: Path, batch: int
) -> None:
    monkeypatch.setattr(router, "_BATCH", batch)
    for folder, name, text in (("workflows", "w.py", WORKFLOWS), ("triggers", "t.yaml", DERIVED + TOLD)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text, "utf-8")
    async with tidemill_harness(root=tmp_path) as h:
        for number in range(12):
            await h.send(type="order", id=f"o{number:02}")
        await h.run_until_done()

        assert len(await h.runs(dag="left")) == 12
        assert sorted(await trees(h)) == [(f"o{number:02}", {"succeeded": 2}) for number in range(12)]
