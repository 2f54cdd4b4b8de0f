"""The executor conformance suite: what every executor promises, wherever it calls the task.

An executor takes part by an adapter (`ExecutorAdapter`) and a class:

    class TestThread(ExecutorConformance):
        @pytest.fixture
        async def adapter(self): ...

Attempts are those of a real live run, of a DAG that is read from its text.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import textwrap
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest

from tidemill.dag.definition import Dag
from tidemill.engine.live import LiveRun
from tidemill.events.event import Event
from tidemill.executors.remote.request import Limits
from tidemill.project.workflows import load_source
from tidemill.runs.attempts import Attempt, Executor, Outcome, OutcomeKind
from tidemill.runs.state import RunState
from tidemill.storage.contract import NewRun

__all__ = [
    "ClusterConformance",
    "ExecutorAdapter",
    "ExecutorConformance",
    "Scene",
    "WorkerConformance",
    "is_broken_in_ray",
]

#: Longest wait for anything, in seconds; only failing tests wait so long.
PATIENCE = 60.0
#: Longest pause of a task that nobody waits for, in seconds.
PAUSE = 3.0

#: What Ray says when the server that it starts for each client has died before it could be asked.
_RAY_BROKE = ("Starting Ray client server failed", "psutil.ZombieProcess")


def is_broken_in_ray(said: str) -> bool:
    """Whether an address was refused because Ray could not start a server of its own: nothing is ours in that."""
    return any(words in said for words in _RAY_BROKE)


HEAD = """\
import asyncio, datetime, logging, os, signal, socket, sys, time
import pydantic
from tidemill import Context, DoNotRetry, RetryAfter, dag, task
"""


class ExecutorAdapter(Protocol):
    """One executor as a test sees it."""

    #: What `@task(executor=...)` says.
    name: str
    #: Whether its tasks are coroutine functions.
    is_coroutine: bool
    #: Further options of every task.
    options: str
    #: Whether it ends a function that does not listen.
    kills: bool
    #: How many tasks run at once.
    slots: int

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        """A new executor, ready."""


@dataclass
class Scene:
    """An executor, and what it reports."""

    adapter: ExecutorAdapter
    executor: Executor

    def __post_init__(self) -> None:
        self.reported: list[Outcome] = []
        self._arrived = asyncio.Event()

    def dag(
        self, body: str, *, takes: str = "", gives: str = "", options: str = "", head: str = "", run: str = ""
    ) -> Dag:
        """A DAG whose only task has this body: `takes` are its parameters, `gives` its arguments, `run` those of the
        DAG; `pause(n)` stands for what both kinds of functions write differently."""
        if self.adapter.is_coroutine:
            kind = "async def"
            body = body.replace("pause(", "await asyncio.sleep(")
        else:
            kind = "def"
            body = body.replace("pause(", "time.sleep(")
        both = ", ".join(one for one in (self.adapter.options, options) if one)
        source = "\n".join(
            [
                HEAD,
                textwrap.dedent(head),
                f"@task(executor={self.adapter.name!r}, {both})",
                f"{kind} work({takes}):",
                textwrap.indent(textwrap.dedent(body), "    "),
                "@dag",
                f"def d({run}):",
                f"    return work({gives})",
            ]
        )
        return load_source(source, "workflows/d.py", "d")

    def waiting(self, seconds: float, *, options: str = "") -> Dag:
        """A DAG whose only task knocks at parameter `port` and waits, holding the connection."""
        if self.adapter.is_coroutine:
            body = f"""
                _, writer = await asyncio.open_connection('127.0.0.1', port)
                try:
                    await asyncio.sleep({seconds})
                finally:
                    writer.close()
            """
        else:
            body = f"""
                with socket.create_connection(('127.0.0.1', port)):
                    time.sleep({seconds})
            """
        return self.dag(body, takes="port", gives="port", run="port: int", options=options)

    def attempt(
        self,
        dag: Dag,
        *,
        task: str = "work",
        run_id: str = "run-1",
        number: int = 1,
        parameters: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
        event: Event | None = None,
    ) -> Attempt:
        """An attempt as the engine makes it."""
        text = orjson.dumps(parameters or {})
        run = NewRun(
            run_id=run_id,
            dag="d",
            version=dag.version,
            trigger="manual",
            position=1,
            event_source="/s",
            event_id="e",
            parameters=text,
            queued_at=0,
            correlation_id="c",
            hop_count=0,
        )
        state = RunState(run_id, dag, text)
        for name, value in (results or {}).items():
            state.results[dag.index[name]] = value if isinstance(value, bytes) else orjson.dumps(value)
        state.attempts[dag.index[task]] = number
        return LiveRun(run, dag, state, event=event).attempt(dag.index[task])

    def start(self, attempt: Attempt) -> None:
        self.executor.start(attempt, self._report)

    async def outcomes(self, count: int) -> list[Outcome]:
        """What was reported, once it is `count` or more."""
        async with asyncio.timeout(PATIENCE):
            while len(self.reported) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.reported

    async def outcome(self, attempt: Attempt) -> Outcome:
        """What one attempt came to; its result, where it has one, as bytes of JSON."""
        before = len(self.reported)
        self.start(attempt)
        return (await self.outcomes(before + 1))[before]

    async def result(self, body: str, **how: Any) -> Any:
        """The value that a body returns."""
        given = {name: how.pop(name) for name in ("parameters", "event", "number", "run_id") if name in how}
        outcome = await self.outcome(self.attempt(self.dag(body, **how), **given))
        assert outcome.kind is OutcomeKind.SUCCEEDED, (outcome.error_type, outcome.message)
        return orjson.loads(outcome.result)

    async def failure(self, body: str, **how: Any) -> Outcome:
        """How a body fails."""
        outcome = await self.outcome(self.attempt(self.dag(body, **how)))
        assert outcome.kind is OutcomeKind.FAILED
        return outcome

    def _report(self, outcome: Outcome) -> None:
        self.reported.append(outcome)
        self._arrived.set()


class Door:
    """A port that a task knocks at when it has begun; `gone` when its process or connection ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gone = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._is_open = False
        self._knocks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._knock, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._knocks, return_exceptions=True)

    def open(self) -> None:
        """Let those go on who wait inside for a byte, and those who come from now on."""
        self._is_open = True
        for writer in self._open:
            writer.write(b"!")

    async def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knock = asyncio.current_task()
        assert knock is not None
        self._knocks.add(knock)
        self._open.add(writer)
        if self._is_open:
            writer.write(b"!")
        self.begun.set()
        with contextlib.suppress(OSError):  # reset by a process that was killed
            await reader.read()
        self.gone.set()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._open.discard(writer)


class ExecutorConformance:
    """The suite."""

    @pytest.fixture
    async def scene(self, adapter: ExecutorAdapter) -> AsyncIterator[Scene]:
        executor = await adapter.build(Limits(max_result_bytes=2000))
        yield Scene(adapter, executor)
        await executor.close()

    async def test_result_is_reported_as_json(self, scene: Scene) -> None:
        value = await scene.result("return {'text': 'Grüße', 'n': [1, 2.5, None, True]}")

        assert value == {"text": "Grüße", "n": [1, 2.5, None, True]}

    async def test_outcome_names_its_attempt(self, scene: Scene) -> None:
        outcome = await scene.outcome(scene.attempt(scene.dag("return 1"), run_id="run-7", number=3))

        assert (outcome.run_id, outcome.index, outcome.number) == ("run-7", 0, 3)

    async def test_no_return_is_null(self, scene: Scene) -> None:
        assert await scene.result("pass") is None

    async def test_model_is_returned_as_json(self, scene: Scene) -> None:
        head = "class Order(pydantic.BaseModel):\n    when: datetime.date"

        value = await scene.result("return Order(when=datetime.date(2026, 1, 2))", head=head)

        assert value == {"when": "2026-01-02"}

    async def test_exception_is_told_with_type_message_and_place(self, scene: Scene) -> None:
        outcome = await scene.failure("raise LookupError('no such order')")

        assert (outcome.error_type, outcome.message) == ("LookupError", "no such order")
        assert "raise LookupError('no such order')" in outcome.traceback
        assert not outcome.permanent

    async def test_exit_of_a_task_is_a_failure(self, scene: Scene) -> None:
        outcome = await scene.failure("sys.exit(3)")

        assert (outcome.error_type, outcome.message) == ("SystemExit", "3")

    async def test_result_that_is_not_json_is_a_permanent_failure(self, scene: Scene) -> None:
        outcome = await scene.failure("return object()")

        assert outcome.error_type == "ResultNotJson"
        assert outcome.permanent

    async def test_result_that_is_too_large_is_a_permanent_failure(self, scene: Scene) -> None:
        outcome = await scene.failure("return 'x' * 2000")

        assert outcome.error_type == "ResultTooLarge"
        assert "2002 bytes" in outcome.message
        assert outcome.permanent

    async def test_do_not_retry_is_permanent(self, scene: Scene) -> None:
        outcome = await scene.failure("raise DoNotRetry('closed')")

        assert outcome.permanent

    async def test_retry_after_tells_its_delay(self, scene: Scene) -> None:
        outcome = await scene.failure("raise RetryAfter(12.5)")

        assert outcome.retry_after == 12.5
        assert not outcome.permanent

    async def test_context_tells_of_the_attempt(self, scene: Scene) -> None:
        body = "return [c.run_id, c.dag_id, c.task_id, c.attempt, c.idempotency_key, c.event.data, c.parameters['n']]"
        event = Event(id="e", source="/s", type="t", data={"k": [1]}, time="2026-01-01T00:00:00Z")

        value = await scene.result(
            body, takes="c: Context", run="n: int", parameters={"n": 4}, event=event, number=2
        )

        assert value == ["run-1", "d", "work", 2, "run-1/work", {"k": [1]}, 4]

    async def test_context_tells_of_the_ticks_interval(self, scene: Scene) -> None:
        names = ("scheduled_at", "interval_start", "interval_end")
        data = {name: f"2026-01-0{day}T00:00:00+00:00" for day, name in enumerate(names, 1)}
        event = Event(id="e", source="/s", type="dev.tidemill.schedule.tick.v1", data=data)

        value = await scene.result("return c.interval_end - c.scheduled_at == datetime.timedelta(days=2)",
            takes="c: Context", event=event)  # fmt: skip

        assert value is True

    async def test_event_with_bytes_arrives_as_bytes(self, scene: Scene) -> None:
        event = Event(id="e", source="/s", type="t", datacontenttype="image/png", data=b"\x89PNG\xff")

        value = await scene.result("return list(c.event.data)", takes="c: Context", event=event)

        assert bytes(value) == b"\x89PNG\xff"

    async def test_parameters_have_their_types(self, scene: Scene) -> None:
        body = "return [type(day).__name__, type(order).__name__, order.price + 1, name]"
        head = "class Order(pydantic.BaseModel):\n    price: int"
        run = "day: datetime.date, order: Order, name: str"

        value = await scene.result(
            body,
            head=head,
            takes="day, order, name",
            gives="day, order, name=name",
            run=run,
            parameters={"day": "2026-01-02", "order": {"price": 4}, "name": "x"},
        )

        assert value == ["date", "Order", 5, "x"]

    async def test_constants_of_any_type_arrive_as_they_are_written(self, scene: Scene) -> None:
        value = await scene.result(
            "return [type(when).__name__, sorted(some)]",
            takes="when, some",
            gives="datetime.date(2026, 1, 2), {3, 1}",
        )

        assert value == ["date", [1, 3]]

    async def test_results_of_earlier_tasks_arrive(self, scene: Scene) -> None:
        kind = "async def" if scene.adapter.is_coroutine else "def"
        source = f"""
            from tidemill import dag, task
            @task(executor={scene.adapter.name!r}, {scene.adapter.options})
            {kind} first(): return {{"rows": [1, 2]}}
            @task(executor={scene.adapter.name!r}, {scene.adapter.options})
            {kind} second(rows, whole): return [rows, whole]
            @dag
            def d():
                made = first()
                second(made["rows"], [made])
        """
        dag = load_source(textwrap.dedent(source), "workflows/d.py", "d")
        attempt = scene.attempt(dag, task="second", results={"first": {"rows": [7]}})

        outcome = await scene.outcome(attempt)

        assert orjson.loads(outcome.result) == [[7], [{"rows": [7]}]]

    async def test_older_version_is_called_when_a_newer_one_was_called_before(self, scene: Scene) -> None:
        newer = await scene.result("return 'newer'")
        older = await scene.result("return 'older'")

        assert (newer, older) == ("newer", "older")

    async def test_attempt_that_outlasts_its_timeout_fails(self, scene: Scene) -> None:
        outcome = await scene.failure(f"pause({PAUSE})", options="timeout=0.5")

        assert outcome.error_type == "TaskTimedOut"
        assert "0.5 s" in outcome.message

    async def test_cancelled_attempt_is_reported_as_cancelled(self, scene: Scene) -> None:
        door = Door()
        async with door as port:
            dag = scene.waiting(PAUSE * 20 if scene.adapter.kills else PAUSE)
            scene.start(scene.attempt(dag, parameters={"port": port}))
            await asyncio.wait_for(door.begun.wait(), PATIENCE)

            scene.executor.cancel("run-1", 0)

            [outcome] = await scene.outcomes(1)
            assert outcome.kind is OutcomeKind.CANCELLED
            if scene.adapter.kills:
                await asyncio.wait_for(door.gone.wait(), PATIENCE)

    async def test_attempt_that_is_cancelled_at_once_is_reported(self, scene: Scene) -> None:
        scene.start(scene.attempt(scene.dag(f"pause({PAUSE})")))

        scene.executor.cancel("run-1", 0)

        [outcome] = await scene.outcomes(1)
        assert outcome.kind is OutcomeKind.CANCELLED

    async def test_cancelling_what_is_unknown_changes_nothing(self, scene: Scene) -> None:
        scene.executor.cancel("nobody", 7)

        assert await scene.result("return 1") == 1

    async def test_each_of_many_attempts_is_reported_once(self, scene: Scene) -> None:
        dag = scene.dag("return n", takes="n", gives="n", run="n: int")
        for number in range(120):
            scene.start(scene.attempt(dag, run_id=f"run-{number}", parameters={"n": number}))

        outcomes = await scene.outcomes(120)

        await asyncio.sleep(0)
        assert {outcome.run_id: int(outcome.result) for outcome in outcomes} == {
            f"run-{number}": number for number in range(120)
        }
        assert len(outcomes) == 120

    async def test_failing_attempt_leaves_those_beside_it_alone(self, scene: Scene) -> None:
        body = "if n == 3: raise ValueError(n)\nreturn n"
        dag = scene.dag(body, takes="n", gives="n", run="n: int")
        for number in range(8):
            scene.start(scene.attempt(dag, run_id=f"run-{number}", parameters={"n": number}))

        outcomes = await scene.outcomes(8)

        assert [one.run_id for one in outcomes if one.kind is OutcomeKind.FAILED] == ["run-3"]

    async def test_closing_ends_what_runs_and_reports_nothing(self, scene: Scene) -> None:
        door = Door()
        async with door as port:
            dag = scene.waiting(PAUSE)
            scene.start(scene.attempt(dag, parameters={"port": port}))
            await asyncio.wait_for(door.begun.wait(), PATIENCE)

            await asyncio.wait_for(scene.executor.close(), PATIENCE)
            scene.start(scene.attempt(dag, run_id="run-2", parameters={"port": port}))

            await asyncio.sleep(0)
            assert scene.reported == []


class WorkerConformance(ExecutorConformance):
    """What is promised by executors that call tasks in other processes."""

    async def test_task_is_called_in_another_process(self, scene: Scene) -> None:
        import os

        assert await scene.result("return os.getpid()") != os.getpid()

    async def test_task_run_of_a_map_has_its_own_arguments_and_name(self, scene: Scene) -> None:
        dag = scene.dag("return [n, c.task_id, c.idempotency_key]", takes="n, c: Context", gives="n=0")
        attempt = scene.attempt(dag)
        assert attempt.inputs is not None
        inputs = replace(attempt.inputs, item={"n": {"k": [1]}})
        one = replace(attempt, inputs=inputs, index=7, task_id="work[3]")

        outcome = await scene.outcome(one)

        assert outcome.index == 7
        assert orjson.loads(outcome.result) == [{"k": [1]}, "work[3]", "run-1/work[3]"]

    async def test_argument_of_a_map_that_is_not_json_is_refused(self, scene: Scene) -> None:
        attempt = scene.attempt(scene.dag("return 1", takes="n", gives="0"))
        assert attempt.inputs is not None
        inputs = replace(attempt.inputs, item={"n": dt.date(2026, 1, 2)})

        outcome = await scene.outcome(replace(attempt, inputs=inputs))

        assert (outcome.error_type, outcome.permanent) == ("NotSendable", True)

    async def test_killed_worker_is_a_failure_that_may_be_tried_again(self, scene: Scene) -> None:
        outcome = await scene.failure("os.kill(os.getpid(), signal.SIGKILL)")

        assert outcome.error_type == "WorkerLost"
        assert not outcome.permanent
        assert await scene.result("return 'next'") == "next"

    async def test_task_of_a_killed_worker_is_called_once(self, scene: Scene, tmp_path: Path) -> None:
        body = "open(path, 'a').write('called\\n')\nos.kill(os.getpid(), signal.SIGKILL)"
        dag = scene.dag(body, takes="path", gives="path", run="path: str")

        await scene.outcome(scene.attempt(dag, parameters={"path": str(tmp_path / "calls")}))

        assert await scene.result("return 'next'") == "next"
        assert (tmp_path / "calls").read_text() == "called\n"

    async def test_time_in_the_clusters_queue_is_not_the_tasks(self, scene: Scene) -> None:
        dag = scene.dag("pause(1)\nreturn 1", options="timeout=1.9")
        count = scene.adapter.slots * 3  # so that the last ones begin after their timeout, counted from here
        for number in range(count):
            scene.start(scene.attempt(dag, run_id=f"run-{number}"))

        outcomes = await scene.outcomes(count)

        assert {(one.kind, one.error_type) for one in outcomes} == {(OutcomeKind.SUCCEEDED, "")}

    async def test_request_within_a_machine_is_run(self, scene: Scene) -> None:
        assert await scene.result("return 1", options="cpu=2, memory='64MiB'") == 1

    async def test_environment_is_set_for_the_task_alone(self, scene: Scene) -> None:
        body = "return os.environ.get('TIDE')"

        inside = await scene.result(body, options="environment={'env_vars': {'TIDE': 'high'}}")
        outside = await scene.result(body)

        assert (inside, outside) == ("high", None)

    async def test_lines_of_the_task_are_logged_with_its_names(
        self, scene: Scene, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        await scene.result(
            "print('hello\\nthere')\nlogging.getLogger('mine').warning('careful %d', 7)\nreturn 1"
        )

        said = [record for record in caplog.records if record.message == "task.said"]
        assert [(one.severity, one.line) for one in said] == [  # type: ignore[attr-defined]
            ("INFO", "hello"), ("INFO", "there"), ("WARNING", "mine: careful 7")]  # fmt: skip
        assert {(one.run_id, one.task, one.attempt) for one in said} == {("run-1", "work", 1)}  # type: ignore[attr-defined]

    async def test_large_code_is_sent_to_workers_that_ask_for_it(self, scene: Scene) -> None:
        head = "TEXT = '''" + "x" * 50_000 + "'''"

        values = [await scene.result("return len(TEXT)", head=head) for _ in range(2)]

        assert values == [50_000, 50_000]

    async def test_code_that_makes_another_graph_elsewhere_is_refused(self, scene: Scene) -> None:
        import os

        head = f"ID = 'here' if os.getpid() == {os.getpid()} else 'there'"
        source = (
            f"{HEAD}\n{head}\n@task(executor={scene.adapter.name!r}, task_id=ID)\n"
            "def work(): return 1\n@dag\ndef d(): work()"
        )
        dag = load_source(source, "workflows/d.py", "d")

        outcome = await scene.outcome(scene.attempt(dag, task="here"))

        assert outcome.error_type == "DefinitionError"
        assert "another graph" in outcome.message
        assert outcome.permanent

    async def test_modules_beside_the_workflow_travel_with_it(
        self, adapter: ExecutorAdapter, tmp_path: Path
    ) -> None:
        folder = tmp_path / "workflows"
        folder.mkdir()
        (folder / "beside_it.py").write_text("ANSWER = 42\n")
        executor = await adapter.build(Limits(max_result_bytes=2000), root=tmp_path)
        scene = Scene(adapter, executor)
        kind = "async def" if adapter.is_coroutine else "def"
        source = (
            f"{HEAD}\nfrom beside_it import ANSWER\n@task(executor={adapter.name!r}, {adapter.options})\n"
            f"{kind} work(): return ANSWER\n@dag\ndef d(): work()"
        )
        dag = load_source(source, "workflows/d.py", "d", root=tmp_path)

        outcome = await scene.outcome(scene.attempt(dag))

        assert outcome.result == b"42"
        await executor.close()

    async def test_large_result_is_kept_elsewhere_and_comes_back(
        self, adapter: ExecutorAdapter, tmp_path: Path
    ) -> None:
        url = f"file://{tmp_path}"
        executor = await adapter.build(Limits(2000, url, 100))
        scene = Scene(adapter, executor)
        made = await scene.outcome(scene.attempt(scene.dag("return {'rows': ['x'] * 5000}")))
        kind = "async def" if adapter.is_coroutine else "def"
        source = f"""
            from tidemill import dag, task
            @task(executor={adapter.name!r}, {adapter.options})
            {kind} first(): return None
            @task(executor={adapter.name!r}, {adapter.options})
            {kind} second(rows): return len(rows)
            @dag
            def d(): second(first()["rows"])
        """
        dag = load_source(textwrap.dedent(source), "workflows/d.py", "d")

        read = await scene.outcome(scene.attempt(dag, task="second", results={"first": made.result}))

        assert len(made.result) < 300
        assert orjson.loads(made.result)["$claim"].startswith(url + "/run-1/")
        assert read.result == b"5000"
        await executor.close()


class ClusterConformance(WorkerConformance):
    """What is promised by executors that call tasks on other machines."""

    async def test_request_that_no_machine_can_satisfy_is_refused_with_the_numbers(
        self, scene: Scene
    ) -> None:
        outcome = await scene.failure("return 1", options="cpu=1000, gpu=8")

        assert outcome.error_type == "Unschedulable"
        assert outcome.permanent
        assert "asks for 1000 cpu, 8 gpu" in outcome.message
        assert "has 2 cpu" in outcome.message

    async def test_unknown_resource_is_refused(self, scene: Scene) -> None:
        outcome = await scene.failure("return 1", options="resources={'unheard': 2}")

        assert outcome.error_type == "Unschedulable"
        assert "2 unheard" in outcome.message
