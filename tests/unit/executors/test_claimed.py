"""Local tasks behind remote ones: arguments are made of results, wherever these are kept."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conformance.executors import Scene

from tidemill.dag.definition import Dag
from tidemill.executors.absent import AbsentExecutor
from tidemill.executors.claimed import ClaimedExecutor
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.remote.claims import Claims
from tidemill.executors.remote.request import Limits
from tidemill.project.workflows import load_source
from tidemill.runs.attempts import Executor, OutcomeKind


class Local:
    name, is_coroutine, options, kills = "loop", True, "", True

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        raise NotImplementedError


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(f"file://{tmp_path}")


@pytest.fixture
async def scene(claims: Claims) -> AsyncIterator[Scene]:
    executor = ClaimedExecutor(LoopExecutor(max_result_bytes=1000), claims)
    yield Scene(Local(), executor)
    await executor.close()


def behind(body: str, gives: str = "far()") -> Dag:
    """A DAG whose local task takes what a remote one made."""
    source = f"""
        from tidemill import Context, dag, task
        @task(executor="ray")
        def far(): return None
        @task
        async def near(value, c: Context): {body}
        @dag
        def d(n: int = 7): near({gives})
    """
    return load_source(textwrap.dedent(source), "workflows/d.py", "d")


async def test_result_that_is_kept_elsewhere_is_fetched(scene: Scene, claims: Claims) -> None:
    kept = claims.put("run-1", 0, 1, b'{"rows":[1,2,3]}')
    attempt = scene.attempt(behind("return [value, c.attempt]"), task="near", results={"far": kept})

    outcome = await scene.outcome(attempt)

    assert orjson.loads(outcome.result) == [{"rows": [1, 2, 3]}, 1]


async def test_path_into_a_result_is_followed_in_what_was_fetched(scene: Scene, claims: Claims) -> None:
    kept = claims.put("run-1", 0, 1, b'{"rows":[1,2,3]}')
    dag = behind("return value", "far()['rows'][1]")

    outcome = await scene.outcome(scene.attempt(dag, task="near", results={"far": kept}))

    assert outcome.result == b"2"


async def test_ordinary_result_is_used_as_it_is(scene: Scene) -> None:
    outcome = await scene.outcome(
        scene.attempt(behind("return [value, c.parameters['n']]"), task="near", results={"far": [4]})
    )

    assert orjson.loads(outcome.result) == [[4], 7]


async def test_path_that_is_not_there_is_a_permanent_failure(scene: Scene) -> None:
    dag = behind("return value", "far()['missing']")

    outcome = await scene.outcome(scene.attempt(dag, task="near", results={"far": {}}))

    assert outcome.error_type == "UnresolvedReference"
    assert outcome.permanent


async def test_lost_content_is_a_failure_that_may_be_tried_again(
    scene: Scene, claims: Claims, tmp_path: Path
) -> None:
    kept = claims.put("run-1", 0, 1, b"[1]")
    for file in tmp_path.rglob("*.json"):
        file.unlink()

    outcome = await scene.outcome(scene.attempt(behind("return value"), task="near", results={"far": kept}))

    assert outcome.error_type == "ClaimLost"
    assert not outcome.permanent


async def test_attempt_that_is_cancelled_while_it_fetches_is_not_begun(scene: Scene, claims: Claims) -> None:
    kept = claims.put("run-1", 0, 1, b"[1]")
    scene.start(scene.attempt(behind("return value"), task="near", results={"far": kept}))

    scene.executor.cancel("run-1", 1)

    [outcome] = await scene.outcomes(1)
    assert outcome.kind is OutcomeKind.CANCELLED


async def test_closing_while_something_is_fetched_reports_nothing(scene: Scene, claims: Claims) -> None:
    kept = claims.put("run-1", 0, 1, b"[1]")
    scene.start(scene.attempt(behind("return value"), task="near", results={"far": kept}))

    await scene.executor.close()

    await asyncio.sleep(0)
    assert scene.reported == []


async def test_without_a_store_a_reference_is_a_value(claims: Claims) -> None:
    executor = ClaimedExecutor(LoopExecutor(max_result_bytes=1000), None)
    scene = Scene(Local(), executor)
    kept = claims.put("run-1", 0, 1, b"[1]")

    outcome = await scene.outcome(scene.attempt(behind("return value"), task="near", results={"far": kept}))

    assert outcome.result == kept
    await executor.close()


async def test_engine_that_is_not_there_fails_attempts_for_good() -> None:
    executor = AbsentExecutor("it was switched off")
    scene = Scene(Local(), executor)
    dag = behind("return value")

    outcome = await scene.outcome(scene.attempt(dag, task="far"))

    assert (outcome.error_type, outcome.message) == ("ExecutorMissing", "it was switched off")
    assert outcome.permanent
    await executor.close()
