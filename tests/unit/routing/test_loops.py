"""A loop policy holds through what is derived of a run's completion, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.storage.contract import DispositionKind
from tidemill.testing.harness import MakeHarness

WORKFLOW = """
from tidemill import dag, task

@task
async def keep():
    return 1

@dag(dag_id="take")
def take():
    return keep()
"""


@pytest.mark.parametrize(("loops", "runs"), [("avoid", 1), ("3", 3)])
async def test_chain_is_followed_through_a_derived_event(
    loops: str, runs: int, tmp_path: Path, tidemill_harness: MakeHarness
) -> None:
    definitions = f"""
derive:
  - {{name: done, filters: [{{exact: {{source: /tidemill/dags/take}}}}], event: {{type: done}}}}
triggers:
  - {{name: begin, dag: take, filters: [{{exact: {{type: go}}}}]}}
  - {{name: again, dag: take, filters: [{{exact: {{type: done}}}}], loops: {loops}}}
"""
    for name, text in {"workflows/take.py": WORKFLOW, "triggers/t.yaml": definitions}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, "utf-8")

    async with tidemill_harness(root=tmp_path) as h:
        await h.send(type="go")
        await h.run_until_idle()

        found = sorted(run.trigger for run in await h.runs())
        (avoided,) = await h.dispositions(h.store.log.head)
        assert found == [*["again"] * runs, "begin"]
        assert (avoided.trigger, avoided.kind) == ("again", DispositionKind.LOOP_AVOIDED)


async def test_event_that_names_a_cause_nobody_knows_begins_a_chain(
    tmp_path: Path, tidemill_harness: MakeHarness
) -> None:
    definitions = "triggers:\n  - {name: t, dag: take, filters: [{exact: {type: go}}], loops: avoid}\n"
    for name, text in {"workflows/take.py": WORKFLOW, "triggers/t.yaml": definitions}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, "utf-8")

    async with tidemill_harness(root=tmp_path) as h:
        await h.send(type="go", extensions={"causationid": "nobody/succeeded"})
        await h.run_until_idle()

        assert [run.trigger for run in await h.runs()] == ["t"]
