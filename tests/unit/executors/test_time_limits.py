"""Heartbeats and exceptions that end retries, in the loop and in threads, under virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tidemill.dag.context import Context
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.thread import ThreadExecutor
from tidemill.project.workflows import load_source
from tidemill.runs.arguments import make_arguments
from tidemill.runs.attempts import Attempt, Executor, Outcome, OutcomeKind
from tidemill.testing.clock import ManualClock

_HEAD = "from tidemill import Context, DoNotRetry, Retry, RetryAfter, Skip, dag, task\n"


class Watched:
    """One executor of each kind, and attempts of tasks that are given as text."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.executors: dict[str, Executor] = {
            "loop": LoopExecutor(max_result_bytes=1000, clock=self.clock),
            "thread": ThreadExecutor(workers=4, max_result_bytes=1000, clock=self.clock),
        }
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def start(self, text: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Begin the only task of a DAG whose parameters are given as they are."""
        dag = load_source(_HEAD + text, "workflows/d.py", "d")
        node = dag.tasks[0]
        args, kwargs = make_arguments(
            "r", dag, node=node, number=1, results={}, parameters=parameters or {}, event=None
        )
        self.executors[node.executor].start(
            Attempt("r", dag, node, 1, args, kwargs), self.outcomes.put_nowait
        )

    async def outcome(self) -> Outcome:
        """What is reported next."""
        return await asyncio.wait_for(self.outcomes.get(), 10)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    yield watched
    for executor in watched.executors.values():
        await executor.close()


_COROUTINE = """
@task(heartbeat=8)
async def work(begun, more, c: Context):
    begun.set()
    while await more.get():
        c.heartbeat()
    return 1
@dag
def d(begun, more): work(begun, more)
"""
_PLAIN = """
@task(heartbeat=8)
def work(begun, more, c: Context):
    begun.set()
    while more.get():
        c.heartbeat()
    return 1
@dag
def d(begun, more): work(begun, more)
"""


async def test_silent_coroutine_is_cancelled_and_has_lost_its_heartbeat(watched: Watched) -> None:
    begun = asyncio.Event()
    watched.start(_COROUTINE, {"begun": begun, "more": asyncio.Queue()})
    await begun.wait()

    watched.clock.advance(7)
    await asyncio.sleep(0)
    assert watched.outcomes.empty()
    watched.clock.advance(2)

    outcome = await watched.outcome()
    assert (outcome.kind, outcome.error_type) == (OutcomeKind.FAILED, "HeartbeatLost")
    assert "heartbeat of 8 s" in outcome.message
    assert not outcome.permanent


async def test_beating_coroutine_goes_on(watched: Watched) -> None:
    begun, more = asyncio.Event(), asyncio.Queue[bool]()
    watched.start(_COROUTINE, {"begun": begun, "more": more})
    await begun.wait()

    for _ in range(10):
        watched.clock.advance(6)
        more.put_nowait(True)
        await asyncio.sleep(0.001)
    more.put_nowait(False)

    assert (await watched.outcome()).result == b"1"


async def test_silent_thread_is_given_up(watched: Watched) -> None:
    from queue import SimpleQueue

    begun, more = threading.Event(), SimpleQueue[bool]()
    watched.start(_PLAIN, {"begun": begun, "more": more})
    await asyncio.to_thread(begun.wait)
    watched.clock.advance(6)
    more.put(True)
    await asyncio.to_thread(_wait_until_empty, more)
    watched.clock.advance(6)
    await asyncio.sleep(0)
    assert watched.outcomes.empty()

    watched.clock.advance(6)

    assert (await watched.outcome()).error_type == "HeartbeatLost"
    more.put(False)


def _wait_until_empty(queue: Any) -> None:
    while not queue.empty():
        pass
    threading.Event().wait(0.02)  # from the queue to the beat is a step of the thread's own


async def test_timeout_holds_beside_the_heartbeat(watched: Watched) -> None:
    begun, more = asyncio.Event(), asyncio.Queue[bool]()
    watched.start(
        _COROUTINE.replace("heartbeat=8", "heartbeat=8, timeout=20"), {"begun": begun, "more": more}
    )
    await begun.wait()

    for _ in range(4):
        watched.clock.advance(6)
        more.put_nowait(True)
        await asyncio.sleep(0.001)

    assert (await watched.outcome()).error_type == "TaskTimedOut"


def test_heartbeat_of_a_context_that_nobody_watches_does_nothing() -> None:
    context = Context(run_id="r", dag_id="d", task_id="t", attempt=1, idempotency_key="r/t")

    context.heartbeat()

    assert context == Context(
        run_id="r", dag_id="d", task_id="t", attempt=1, idempotency_key="r/t", beat=lambda: None
    )


@pytest.mark.parametrize(
    ("policy", "raised", "permanent"),
    [
        ("", "ValueError", False),
        ("retry_on=[ConnectionError]", "ConnectionResetError", False),
        ("retry_on=[ConnectionError]", "ValueError", True),
        ("give_up_on=['LookupError']", "KeyError", True),
        ("retry_on=[ValueError]", "RetryAfter(5)", False),
        ("give_up_on=[RetryAfter]", "RetryAfter(5)", True),
        ("retry_on=[DoNotRetry]", "DoNotRetry", True),
        ("give_up_on=['Own']", "Own", True),
        ("retry_on=[Own]", "Own", False),
    ],
)
async def test_exception_is_judged_by_the_tasks_policy(
    watched: Watched, policy: str, raised: str, permanent: bool
) -> None:
    watched.start(f"""
class Own(Exception): pass
@task(retry=Retry(max_attempts=3, {policy}))
async def work(): raise {raised}
@dag
def d(): work()
""")

    assert (await watched.outcome()).permanent is permanent


async def test_timeout_that_the_policy_names_is_permanent(watched: Watched) -> None:
    watched.start("""
@task(timeout=5, retry=Retry(max_attempts=3, give_up_on=["TaskTimedOut"]))
async def work():
    import asyncio
    await asyncio.sleep(60)
@dag
def d(): work()
""")
    await asyncio.sleep(0)
    watched.clock.advance(6)

    outcome = await watched.outcome()
    assert (outcome.error_type, outcome.permanent) == ("TaskTimedOut", True)


async def test_skip_is_an_outcome_of_its_own(watched: Watched) -> None:
    watched.start("@task\ndef work(): raise Skip('nothing new')\n@dag\ndef d(): work()")

    outcome = await watched.outcome()

    assert (outcome.kind, outcome.message) == (OutcomeKind.SKIPPED, "nothing new")
