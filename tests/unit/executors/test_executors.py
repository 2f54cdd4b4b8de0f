"""What user code returns, raises or does becomes exactly one outcome, in the loop and in threads alike."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from tidemill.errors import DoNotRetry, RetryAfter
from tidemill.runs.attempts import OutcomeKind

if TYPE_CHECKING:
    from tests.unit.executors.conftest import Bench


class Model(pydantic.BaseModel):
    when: datetime
    tags: set[str]


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Stubborn(pydantic.BaseModel):
    value: Any

    @pydantic.field_serializer("value")
    def write(self, value: Any) -> Any:
        raise LookupError("cannot be written")


def both(call: Callable[[], Any]) -> list[Callable[[], Any]]:
    """The same as a coroutine function and as a plain one."""

    async def coroutine() -> Any:
        return call()

    def plain() -> Any:
        return call()

    return [coroutine, plain]


def throw(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        ({"a": [1, 2.5, "ü"]}, '{"a":[1,2.5,"ü"]}'.encode()),
        (
            Model(when=datetime(2024, 1, 1, tzinfo=UTC), tags={"x"}),
            b'{"when":"2024-01-01T00:00:00Z","tags":["x"]}',
        ),
        (
            [Model(when=datetime(2024, 1, 1, tzinfo=UTC), tags=set())],
            b'[{"when":"2024-01-01T00:00:00Z","tags":[]}]',
        ),
        ({3, 1, 2}, b"[1,2,3]"),
        ((1, 2), b"[1,2]"),
        (Point(4), b'{"x":4}'),
        (Colour.RED, b'"red"'),
        (uuid.UUID(int=0), b'"00000000-0000-0000-0000-000000000000"'),
    ],
    ids=["none", "json", "model", "list of models", "set", "tuple", "dataclass", "enum", "uuid"],
)
async def test_results_become_json(bench: Bench, value: Any, text: bytes) -> None:
    for function in both(lambda: value):
        outcome = await bench.outcome(function)

        assert outcome.kind is OutcomeKind.SUCCEEDED
        assert outcome.result == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "a object is not a JSON value"),
        ({1: "x"}, "key must be str"),
        ({"a": b"bytes"}, "a bytes is not a JSON value"),
        (2**70, "64-bit"),
        ("\ud800", "surrogates"),
        ({1, "a"}, "'<' not supported"),
        (Stubborn(value=1), "cannot be written"),
    ],
    ids=["object", "keys", "bytes", "huge", "surrogate", "mixed set", "raises"],
)
async def test_results_that_are_not_json_fail_for_good_and_say_why(
    bench: Bench, value: Any, says: str
) -> None:
    for function in both(lambda: value):
        outcome = await bench.outcome(function)

        assert (outcome.kind, outcome.error_type, outcome.permanent) == (
            OutcomeKind.FAILED,
            "ResultNotJson",
            True,
        )
        assert says in outcome.message
        assert outcome.message.endswith("; return JSON values or pydantic models")


async def test_result_that_contains_itself_fails_for_good(bench: Bench) -> None:
    loop: list[Any] = []
    loop.append(loop)

    for function in both(lambda: loop):
        assert (await bench.outcome(function)).error_type == "ResultNotJson"


async def test_result_at_the_limit_is_taken_and_above_it_refused(bench: Bench) -> None:
    for function in both(lambda: "x" * 98):
        assert (await bench.outcome(function)).kind is OutcomeKind.SUCCEEDED
    for function in both(lambda: "x" * 99):
        outcome = await bench.outcome(function)

        assert (outcome.error_type, outcome.permanent) == ("ResultTooLarge", True)
        assert "101 bytes" in outcome.message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        TimeoutError("mine"),
        asyncio.CancelledError("mine"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_task_raises_is_its_failure_and_nobody_elses(
    bench: Bench, error: BaseException
) -> None:
    for function in both(throw(error)):
        outcome = await bench.outcome(function)

        assert outcome.kind is OutcomeKind.FAILED
        assert outcome.error_type == type(error).__name__
        assert outcome.message == str(error)
        assert "in call" in outcome.traceback
        assert not outcome.permanent


async def test_failure_keeps_what_is_useful_of_a_traceback_and_no_more(bench: Bench) -> None:
    def deep(depth: int) -> None:
        if not depth:
            raise ValueError("x" * 100_000)
        deep(depth - 1)

    for function in both(lambda: deep(300)):
        outcome = await bench.outcome(function)

        assert len(outcome.message) == 4096
        assert len(outcome.traceback) <= 16_384


async def test_failure_whose_text_cannot_be_made_is_still_a_failure(bench: Bench) -> None:
    for function in both(throw(Unprintable())):
        outcome = await bench.outcome(function)

        assert outcome.error_type == "Unprintable"
        assert outcome.message == "(its text cannot be made: RuntimeError)"


async def test_lone_surrogates_in_errors_can_be_stored(bench: Bench) -> None:
    for function in both(throw(ValueError("\udcff"))):
        outcome = await bench.outcome(function)

        assert outcome.message == "\\udcff"
        outcome.traceback.encode()


async def test_task_can_ask_for_a_time_or_for_no_further_attempt(bench: Bench) -> None:
    for function in both(throw(RetryAfter(12.5, "busy"))):
        outcome = await bench.outcome(function)
        assert (outcome.retry_after, outcome.permanent, outcome.message) == (12.5, False, "busy")
    for function in both(throw(DoNotRetry("bad input"))):
        outcome = await bench.outcome(function)
        assert (outcome.retry_after, outcome.permanent, outcome.message) == (None, True, "bad input")


async def test_coroutine_that_cancels_itself_has_failed(bench: Bench) -> None:
    async def leave() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    outcome = await bench.outcome(leave)

    assert (outcome.kind, outcome.error_type) == (OutcomeKind.FAILED, "CancelledError")


async def test_attempt_that_is_cancelled_is_reported_as_cancelled(bench: Bench) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await never.wait()

    executor = bench.start(wait)
    await begun.wait()
    executor.cancel("r", 0)

    assert [one.kind for one in await bench.outcomes(1)] == [OutcomeKind.CANCELLED]


async def test_attempt_that_is_cancelled_before_it_begins_never_begins(bench: Bench) -> None:
    calls = []

    async def call() -> None:
        calls.append(1)

    bench.start(call).cancel("r", 0)

    assert [one.kind for one in await bench.outcomes(1)] == [OutcomeKind.CANCELLED]
    assert calls == []


async def test_plain_function_that_is_cancelled_is_reported_at_once_and_goes_on(bench: Bench) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    executor = bench.start(wait)
    await asyncio.to_thread(begun.wait, 10)
    executor.cancel("r", 0)
    outcomes = await bench.outcomes(1)

    assert [one.kind for one in outcomes] == [OutcomeKind.CANCELLED]
    assert not ended.is_set()
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert bench.reported == []


async def test_cancelling_an_unknown_attempt_does_nothing(bench: Bench) -> None:
    bench.loop.cancel("r", 7)
    bench.thread.cancel("r", 7)

    assert (await bench.outcome(both(lambda: 1)[0])).kind is OutcomeKind.SUCCEEDED


async def test_coroutine_that_runs_too_long_times_out_and_is_tidied_up(bench: Bench) -> None:
    begun, tidied = asyncio.Event(), []

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            tidied.append(1)

    bench.start(wait, timeout=5)
    await begun.wait()
    await bench.clock.run_for(4.999)
    assert bench.reported == []
    await bench.clock.run_for(0.001)

    (outcome,) = await bench.outcomes(1)
    assert (outcome.kind, outcome.error_type, outcome.permanent) == (
        OutcomeKind.FAILED,
        "TaskTimedOut",
        False,
    )
    assert outcome.message == "the attempt ran longer than its timeout of 5 s"
    assert tidied == [1]


async def test_plain_function_that_runs_too_long_times_out(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(10)

    bench.start(wait, timeout=5)
    await asyncio.to_thread(begun.wait, 10)
    await bench.clock.run_for(4.999)
    assert bench.reported == []
    await bench.clock.run_for(0.001)

    (outcome,) = await bench.outcomes(1)
    go_on.set()
    assert outcome.error_type == "TaskTimedOut"


async def test_timeout_that_did_not_happen_leaves_nothing_behind(bench: Bench) -> None:
    for function in both(lambda: 1):
        assert (await bench.outcome(function, timeout=5)).kind is OutcomeKind.SUCCEEDED
    for function in both(throw(TimeoutError("mine"))):
        outcome = await bench.outcome(function, timeout=5)
        assert (outcome.error_type, outcome.message) == ("TimeoutError", "mine")

    assert bench.clock.planned == 0


async def test_attempts_do_not_see_each_others_context(bench: Bench) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def look(number: int) -> int:
        seen = variable.get()
        variable.set(number)
        return seen

    async def look_in_loop(number: int) -> int:
        return look(number)

    variable.set(7)
    for number in range(1, 6):
        bench.start(look_in_loop, number, index=number)
        bench.start(look, number, index=number)

    assert {one.result for one in await bench.outcomes(10)} == {b"7"}
    assert variable.get() == 7


async def test_plain_functions_run_beside_each_other_up_to_the_number_of_threads(bench: Bench) -> None:
    meeting = threading.Barrier(4, timeout=10)

    for index in range(4):
        bench.start(meeting.wait, index=index)

    assert {one.kind for one in await bench.outcomes(4)} == {OutcomeKind.SUCCEEDED}


async def test_plain_functions_never_use_more_threads_than_there_are(bench: Bench) -> None:
    names = set()

    def look() -> None:
        names.add(threading.current_thread().name)

    for index in range(200):
        bench.start(look, index=index)
    await bench.outcomes(200)

    assert names <= {f"task-{number}" for number in range(1, 5)}


async def test_closing_cuts_attempts_off_without_a_word(bench: Bench) -> None:
    begun, never, go_on = asyncio.Event(), asyncio.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        await never.wait()

    bench.start(wait)
    bench.start(lambda: go_on.wait(10), index=1)
    await begun.wait()
    await bench.loop.close()
    await bench.thread.close()
    bench.start(wait, index=2)
    bench.start(lambda: None, index=3)
    go_on.set()
    await asyncio.sleep(0)

    assert bench.reported == []


def test_process_ends_although_a_plain_function_never_returns() -> None:
    program = """
import asyncio, threading
from tests.unit.executors.conftest import Bench
async def main():
    bench, begun = Bench(), threading.Event()
    def hang():
        begun.set()
        threading.Event().wait()
    bench.start(hang)
    await asyncio.to_thread(begun.wait)
    await bench.thread.close()
asyncio.run(main())
print("ended")
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert (ended.stdout, ended.returncode) == ("ended\n", 0), ended.stderr


async def test_coroutine_that_waits_does_not_hold_up_those_behind_it(bench: Bench) -> None:
    opened = asyncio.Event()

    async def wait(number: int) -> int:
        await opened.wait()
        return number

    async def pass_by(number: int) -> int:
        return number

    for number in range(0, 20, 2):
        bench.start(wait, number, index=number)
        bench.start(pass_by, number + 1, index=number + 1)

    first = await bench.outcomes(10)
    opened.set()
    then = await bench.outcomes(10)

    assert {int(one.result) for one in first} == set(range(1, 20, 2))
    assert {int(one.result) for one in then} == set(range(0, 20, 2))


async def test_what_an_attempt_leaves_on_its_asyncio_task_does_not_reach_the_next_one(bench: Bench) -> None:
    seen: list[asyncio.Task[Any]] = []
    tidied: list[int] = []

    async def mark(number: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        seen.append(task)
        if number == 1:
            task.add_done_callback(lambda _: tidied.append(1))
        if number == 2:
            task.cancel()
        return task.cancelling()

    outcomes = []
    for number in range(1, 6):
        bench.start(mark, number, index=number)
        outcomes += await bench.outcomes(1)
    await asyncio.sleep(0)

    assert [int(one.result) for one in outcomes] == [0, 1, 0, 0, 0]
    assert tidied == [1]
    assert len({id(task) for task in seen[:3]}) == 3
    assert seen[2] is seen[3] is seen[4]
