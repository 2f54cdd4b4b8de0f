"""Why tasks were not called."""

from __future__ import annotations

from typing import Any

from tidemill import DoNotRetry, branch, dag, task
from tidemill.dag.edges import completion_of, failure_of, when
from tidemill.errors import Skip
from tidemill.runs.causes import root_causes
from tidemill.runs.graph_text import decode_graph
from tidemill.testing.harness import MakeHarness


@task
async def fine() -> int:
    return 1


@task
async def bad(*above: Any) -> None:
    raise DoNotRetry("no")


@task
async def step(*above: Any) -> int:
    return 1


@task
async def skipped() -> None:
    raise Skip("nothing to do")


@task
async def one(n: int) -> int:
    if n == 2:
        raise DoNotRetry("two")
    return n


@branch
async def choose() -> str:
    return "left"


@dag
def flow() -> Any:
    first, second = bad.override(task_id="bad1")(), bad.override(task_id="bad2")()
    below = step.override(task_id="below")(first, second, fine())
    step.override(task_id="deeper")(below)
    choose() >> [step.override(task_id="left")(), step.override(task_id="right")()]
    step.override(task_id="unneeded")(skipped())
    failure_of(fine.override(task_id="good")()) >> step.override(task_id="repair")()
    when(fine.override(task_id="small")(), "result > 5") >> step.override(task_id="large")()
    step.override(task_id="summed")(one.expand(n=[1, 2, 3]))
    completion_of(first) >> step.override(task_id="report")()


async def test_causes_are_the_tasks_at_the_root(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[flow]) as harness:
        asked = await harness.start("flow")
        await harness.run_until_idle()
        run = await harness.run(asked)
        kept = await harness.store.runs.version("flow", run.summary.version)
        assert kept is not None

        causes = root_causes(decode_graph(kept[2]), run.tasks)

        assert causes == {
            "below": ["bad1", "bad2"],
            "deeper": ["bad1", "bad2"],
            "right": ["choose"],
            "unneeded": ["skipped"],
            "repair": ["good"],
            "large": ["small"],
            "summed": ["one[1]"],
        }
