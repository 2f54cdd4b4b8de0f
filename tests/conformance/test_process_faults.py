"""What a task can do to its worker process, and that it is the only one who suffers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conformance.executors import PATIENCE, Door, Scene
from tests.conformance.test_executors import ProcessAdapter

from tidemill.executors.process.executor import Allowances, ProcessExecutor
from tidemill.executors.remote.request import Limits
from tidemill.runs.attempts import Outcome, OutcomeKind
from tidemill.testing.clock import ManualClock

_MIB = 1 << 20


def is_alive(pid: int) -> bool:
    """Whether a process is there and is not dead already."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def wait_until(holds: Callable[[], bool]) -> None:
    """Return when it holds: other processes tell nobody of their end."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def a_scene(**settings: Any) -> AsyncIterator[Scene]:
    """A scene with these settings of the executor."""
    adapter = ProcessAdapter()
    executor = await adapter.build(settings.pop("limits", Limits(max_result_bytes=2000)), **settings)
    try:
        yield Scene(adapter, executor)
    finally:
        await executor.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with a_scene() as scene:
        yield scene


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import ctypes\nctypes.string_at(0)", "signal 11 (SIGSEGV)"),
        ("os.abort()", "signal 6 (SIGABRT)"),
        ("os._exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL), which nothing here sent"),
    ],
    ids=["segfault", "abort", "exit", "exit-0", "killed"],
)
async def test_dead_worker_fails_its_attempt_alone(scene: Scene, body: str, words: str) -> None:
    door = Door()
    async with door as port:
        beside = scene.dag(
            "with socket.create_connection(('127.0.0.1', port)) as s: return s.recv(1).decode()",
            takes="port", gives="port", run="port: int",
        )  # fmt: skip
        scene.start(scene.attempt(beside, run_id="beside", parameters={"port": port}))
        await asyncio.wait_for(door.begun.wait(), PATIENCE)

        scene.start(scene.attempt(scene.dag(body), run_id="dying"))
        [dead] = list(await scene.outcomes(1))
        door.open()
        [_, survivor] = await scene.outcomes(2)

    assert (dead.run_id, dead.kind, dead.error_type) == ("dying", OutcomeKind.FAILED, "WorkerLost")
    assert words in dead.message
    assert not dead.permanent
    assert (survivor.run_id, survivor.result) == ("beside", b'"!"')
    assert await scene.result("return 'next'") == "next"


async def test_crash_tells_where_it_happened(scene: Scene) -> None:
    body = "import ctypes\ndef poke(): ctypes.string_at(0)\nprint('before')\npoke()"

    outcome = await scene.failure(body)

    assert "Segmentation fault" in outcome.traceback
    assert "in poke" in outcome.traceback


async def test_lines_before_a_crash_are_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await scene.failure("print('before')\nos.system('echo beside')\nos._exit(1)")

    said = [record.line for record in caplog.records if record.message == "task.said"]  # type: ignore[attr-defined]
    assert said == ["before", "beside"]


async def test_task_that_needs_more_memory_than_it_may_have_fails_with_the_number(scene: Scene) -> None:
    outcome = await scene.failure("return len(bytearray(1 << 30))", options="memory='64MiB'")

    assert outcome.error_type == "MemoryExceeded"
    assert "64 MiB" in outcome.message
    assert "bytearray(1 << 30)" in outcome.traceback
    assert await scene.result("return len(bytearray(1 << 25))", options="memory='64MiB'") == 1 << 25


async def test_memory_is_counted_from_the_call_on_for_each_attempt(scene: Scene) -> None:
    dag = scene.dag("return len(bytearray(48 << 20))", options="memory='64MiB'")

    outcomes = [await scene.outcome(scene.attempt(dag, run_id=f"run-{number}")) for number in range(5)]

    assert {one.kind for one in outcomes} == {OutcomeKind.SUCCEEDED}


async def test_settings_limit_the_memory_of_tasks_that_say_nothing() -> None:
    async with a_scene(allowances=Allowances(memory=64 * _MIB)) as scene:
        outcome = await scene.failure("return len(bytearray(1 << 30))")

    assert outcome.error_type == "MemoryExceeded"


async def test_native_code_that_dies_for_want_of_memory_is_told_as_such(scene: Scene) -> None:
    body = "held = [bytearray(60 << 20)]\nos.abort()"  # as a library does that cannot go on

    outcome = await scene.failure(body, options="memory='64MiB'")

    assert outcome.error_type == "MemoryExceeded"


async def test_task_that_uses_too_much_processor_time_is_ended_by_the_kernel() -> None:
    async with a_scene(allowances=Allowances(cpu_seconds=1)) as scene:
        outcome = await scene.failure("while True: pass")

    assert outcome.error_type == "CpuTimeExceeded"
    assert "1 s of processor time" in outcome.message
    assert "in work" in outcome.traceback


async def test_processor_time_is_counted_for_each_attempt() -> None:
    async with a_scene(allowances=Allowances(cpu_seconds=1), workers=1) as scene:
        body = "end = time.thread_time() + 0.6\nwhile time.thread_time() < end: pass\nreturn os.getpid()"
        pids = {await scene.result(body) for _ in range(3)}

    assert len(pids) == 1


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "while True:\n    try: time.sleep(60)\n    except BaseException: pass",
        "os.kill(os.getpid(), signal.SIGSTOP)",
    ],
    ids=["burns", "ignores", "catches", "stopped"],
)
async def test_task_that_does_not_listen_is_killed_on_timeout(scene: Scene, body: str) -> None:
    outcome = await scene.failure(body, options="timeout=0.3")

    assert outcome.error_type == "TaskTimedOut"
    assert await scene.result("return 'next'") == "next"


async def test_task_that_is_stopped_cleans_up(scene: Scene, tmp_path: Path) -> None:
    body = "try: time.sleep(60)\nfinally: open(path, 'w').write('clean')"
    dag = scene.dag(body, takes="path", gives="path", run="path: str", options="timeout=0.3")

    outcome = await scene.outcome(scene.attempt(dag, parameters={"path": str(tmp_path / "mark")}))

    assert outcome.error_type == "TaskTimedOut"
    assert "in work" in outcome.traceback
    assert (tmp_path / "mark").read_text() == "clean"


#: A tree of processes, one of them in a session of its own, whose ids are in a file; then the task does `then`.
_TREE = """
import subprocess
code = "import os, time; os.fork(); os.fork(); print(os.getpid(), file=open(os.environ['P'], 'a')); time.sleep(300)"
for new_session in (False, True):
    subprocess.Popen([sys.executable, "-c", code], env={{**os.environ, "P": path}}, start_new_session=new_session)
while open(path, "a+").tell() == 0 or len(open(path).read().split()) < 8: time.sleep(0.01)
{then}
"""


@pytest.mark.parametrize(
    "then",
    ["time.sleep(300)", "os._exit(1)", "return 1", "raise ValueError"],
    ids=["timeout", "dies", "returns", "fails"],
)
async def test_processes_that_a_task_leaves_behind_end_with_it(
    scene: Scene, tmp_path: Path, then: str
) -> None:
    path = tmp_path / "pids"
    dag = scene.dag(_TREE.format(then=then), takes="path", gives="path", run="path: str", options="timeout=5")

    await scene.outcome(scene.attempt(dag, parameters={"path": str(path)}))

    pids = [int(line) for line in path.read_text().split()]
    assert len(pids) == 8
    await wait_until(lambda: not any(is_alive(pid) for pid in pids))
    assert await scene.result("return 'next'") == "next"


async def test_fork_bomb_ends_with_its_attempt(scene: Scene, tmp_path: Path) -> None:
    body = "while True:\n    os.fork()\n    open(f'{path}/{os.getpid()}', 'w').close()\n    time.sleep(0.05)"
    dag = scene.dag(body, takes="path", gives="path", run="path: str", options="timeout=0.35")

    outcome = await scene.outcome(scene.attempt(dag, parameters={"path": str(tmp_path)}))

    assert outcome.error_type == "TaskTimedOut"
    pids = [int(entry.name) for entry in tmp_path.iterdir()]
    assert len(pids) > 8
    await wait_until(lambda: not any(is_alive(pid) for pid in pids))
    assert await scene.result("return 'next'") == "next"


async def test_process_that_flees_from_its_parent_is_caught(scene: Scene, tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "while True:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid()\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(0.002)\n"
    )
    body = (
        f"import subprocess\nsubprocess.run([sys.executable, '-c', {code!r}])\ntime.sleep(0.3)\nos._exit(1)"
    )

    await scene.failure(body)

    async def is_still() -> bool:
        before = (tmp_path / "pid").stat().st_mtime_ns
        await asyncio.sleep(0.1)
        return (tmp_path / "pid").stat().st_mtime_ns == before

    async with asyncio.timeout(PATIENCE):
        while not await is_still():
            pass


@pytest.mark.parametrize(
    "body",
    [
        "for _ in range(1600): os.write(1, b'x' * 65535 + b'\\n')",
        "for _ in range(100): print('x' * (1 << 20))",
        "import subprocess\nsubprocess.run(['head', '-c', str(100 << 20), '/dev/zero'], check=True)",
    ],
    ids=["descriptor", "print", "subprocess"],
)
async def test_flood_of_output_blocks_nobody_and_is_bounded(
    scene: Scene, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    caplog.set_level(logging.INFO)

    outcome = await scene.outcome(scene.attempt(scene.dag(f"{body}\nreturn 1", options="timeout=30")))

    assert outcome.result == b"1"
    said = [record.line for record in caplog.records if record.message == "task.said"]  # type: ignore[attr-defined]
    assert sum(map(len, said)) < 100_000


async def test_flood_leaves_the_service_responsive(scene: Scene) -> None:
    flood = scene.dag("while True: os.write(2, b'x' * 65536)", options="timeout=1")
    scene.start(scene.attempt(flood))
    longest, last = 0.0, time.perf_counter()

    while not scene.reported:
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    assert scene.reported[0].error_type == "TaskTimedOut"
    assert longest < 0.5


async def test_result_that_refers_to_itself_is_a_failure(scene: Scene) -> None:
    outcome = await scene.failure("made = []\nmade.append(made)\nreturn made")

    assert outcome.error_type == "ResultNotJson"


async def test_huge_result_is_refused_in_the_worker(scene: Scene) -> None:
    outcome = await scene.failure("return 'x' * (64 << 20)")

    assert outcome.error_type == "ResultTooLarge"


async def test_task_that_writes_to_the_service_is_not_believed(scene: Scene) -> None:
    lie = "os.write(3, b'\\x03\\x00\\x00\\x00\\x05hello')\ntime.sleep(60)"

    outcome = await scene.failure(lie)

    assert (outcome.error_type, outcome.message) == ("WorkerLost", "the worker's answer is not one")
    assert await scene.result("return 'next'") == "next"


async def test_task_that_writes_what_is_no_frame_is_not_believed(scene: Scene) -> None:
    outcome = await scene.failure("os.write(3, b'\\xff' * 64)\ntime.sleep(60)")

    assert (outcome.error_type, outcome.message) == ("WorkerLost", "the worker's answer is not one")


async def test_bytes_can_be_written_to_standard_output(scene: Scene) -> None:
    assert await scene.result("sys.stdout.buffer.write(b'x')\nreturn 1") == 1


async def test_attempt_that_waits_is_cancelled_once() -> None:
    async with a_scene(workers=1) as scene:
        scene.start(scene.attempt(scene.dag("time.sleep(0.1)"), run_id="first"))
        scene.start(scene.attempt(scene.dag("return 1"), run_id="second"))

        scene.executor.cancel("second", 0)
        scene.executor.cancel("second", 0)

        assert {one.kind for one in await scene.outcomes(2)} == {OutcomeKind.SUCCEEDED, OutcomeKind.CANCELLED}


async def test_fork_of_a_task_that_returns_is_not_heard(scene: Scene) -> None:
    outcome = await scene.outcome(scene.attempt(scene.dag("return 'child' if os.fork() == 0 else 'parent'")))

    assert outcome.result == b'"parent"'
    assert await scene.result("return 'next'") == "next"
    assert len(scene.reported) == 2


async def test_environment_holds_what_is_allowed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill.executors.process.environment import allowed_environment

    monkeypatch.setenv("TIDEMILL_API_TOKEN", "canary-1")
    monkeypatch.setenv("SECRET", "canary-2")
    monkeypatch.setenv("LC_TIME", "C")
    environment = allowed_environment("PATH, LC_*, TIDEMILL_*", os.environ)
    body = "return [dict(os.environ), open('/proc/self/environ').read(), open(f'/proc/{os.getppid()}/environ').read()]"
    executor = ProcessExecutor(limits=Limits(1 << 20), workers=1, environment=environment)
    scene = Scene(ProcessAdapter(), executor)

    seen = await scene.result(body)

    await executor.close()
    assert "canary" not in json.dumps(seen)
    assert set(seen[0]) - {"LC_CTYPE"} == {"PATH", "LC_TIME", "TMPDIR"}


async def test_worker_has_no_descriptor_of_the_service(scene: Scene, tmp_path: Path) -> None:
    with (tmp_path / "database").open("w") as handle:
        os.set_inheritable(handle.fileno(), True)

        found = await scene.result(
            "return sorted({int(fd): os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')"
            " if os.path.exists(f'/proc/self/fd/{fd}')}.items())"
        )

    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert not any("database" in place for _, place in found)


async def test_what_a_task_changes_is_changed_for_itself_alone() -> None:
    async with a_scene(workers=1) as scene:
        before = await scene.result("return [os.getpid(), os.getcwd(), 'MINE' in os.environ]")
        await scene.result("os.chdir('/')\nos.environ['MINE'] = '1'\nos.environ.pop('PATH')")
        after = await scene.result("return [os.getpid(), os.getcwd(), 'MINE' in os.environ]")

    assert before == after


async def test_worker_with_a_thread_that_goes_on_is_replaced() -> None:
    async with a_scene(workers=1) as scene:
        first = await scene.result(
            "import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nreturn os.getpid()"
        )
        second = await scene.result("return os.getpid()")

    assert first != second


async def test_worker_that_is_whole_is_used_again() -> None:
    async with a_scene(workers=1) as scene:
        pids = {await scene.result("return os.getpid()") for _ in range(10)}

    assert len(pids) == 1


async def test_temporary_files_of_a_worker_go_with_it(scene: Scene) -> None:
    body = "import tempfile\npath = tempfile.mkstemp()[1]\nopen(path, 'w').write('x')\nreturn path"
    path = Path(await scene.result(body))

    assert path.exists()
    await scene.executor.close()
    assert not path.parent.parent.exists()


async def test_workers_come_with_work_and_go_when_idle() -> None:
    clock = ManualClock()
    async with a_scene(clock=clock, idle_seconds=10) as scene:
        executor = scene.executor
        assert isinstance(executor, ProcessExecutor)
        assert executor.pids == []

        await scene.result("return 1")
        server, worker = executor.pids
        clock.advance(9)
        assert is_alive(worker)
        clock.advance(6)  # it is seen to be idle a little later
        await wait_until(lambda: executor.pids == [server])
        clock.advance(20)
        await wait_until(lambda: not is_alive(server))

        assert executor.pids == []
        assert await scene.result("return 'again'") == "again"


async def test_fork_server_that_dies_is_replaced(scene: Scene) -> None:
    door = Door()
    assert isinstance(scene.executor, ProcessExecutor)
    async with door as port:
        scene.start(scene.attempt(scene.waiting(60), parameters={"port": port}))
        await asyncio.wait_for(door.begun.wait(), PATIENCE)
        server, worker = scene.executor.pids

        os.kill(server, signal.SIGKILL)

        [outcome] = list(await scene.outcomes(1))
        assert outcome.error_type == "WorkerLost"
        await wait_until(lambda: not is_alive(worker))
        assert await scene.result("return 'next'") == "next"


async def test_interpreter_that_cannot_start_fails_what_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    outcome = await scene.failure("return 1")

    assert outcome.error_type == "WorkerNotStarted"
    assert "/nowhere/python" in outcome.message
    assert not outcome.permanent


async def test_killed_service_leaves_no_worker(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            sys.path[:] = {sys.path!r}
            from tests.conformance.executors import Scene
            from tests.conformance.test_executors import ProcessAdapter
            from tidemill.executors.remote.request import Limits

            async def main():
                adapter = ProcessAdapter()
                scene = Scene(adapter, await adapter.build(Limits(2000)))
                body = "import subprocess\\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\\n"
                body += "open(path, 'w').write(str(os.getpid()))\\nwhile True: time.sleep(1)"
                dag = scene.dag(body, takes="path", gives="path", run="path: str")
                scene.start(scene.attempt(dag, parameters={{"path": {str(tmp_path / "pid")!r}}}))
                while not open({str(tmp_path / "pid")!r}, "a+").tell(): await asyncio.sleep(0.01)
                print(*scene.executor.pids, flush=True)
                await asyncio.sleep(300)
            asyncio.run(main())
            """
        )
    )
    service = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert service.stdout is not None
        pids = [int(word) for word in (await asyncio.to_thread(service.stdout.readline)).split()]
        asleep = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _parent_of(entry) == pids[1]
        ]
    finally:
        service.kill()
        service.communicate()

    assert len(pids) == 2
    assert len(asleep) == 1
    await wait_until(lambda: not any(is_alive(pid) for pid in [*pids, *asleep]))


def _parent_of(entry: Path) -> int:
    with contextlib.suppress(OSError):
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


async def test_silent_attempt_is_stopped_and_a_beating_one_is_not(scene: Scene) -> None:
    beating = "for _ in range(12):\n    c.heartbeat()\n    time.sleep(0.2)\nreturn 1"

    silent = await scene.failure("c.heartbeat()\ntime.sleep(60)", takes="c: Context", options="heartbeat=0.4")
    alive = await scene.result(beating, takes="c: Context", options="heartbeat=1.2")

    assert silent.error_type == "HeartbeatLost"
    assert "0.4 s" in silent.message
    assert alive == 1


async def test_time_that_importing_the_file_takes_is_not_silence(scene: Scene) -> None:
    head = f"time.sleep(0 if os.getpid() == {os.getpid()} else 0.8)"

    assert await scene.result("return 1", head=head, takes="c: Context", options="heartbeat=0.4") == 1


async def test_exceptions_are_judged_in_the_worker(scene: Scene) -> None:
    head = "from tidemill import Retry\nclass Closed(ConnectionError): pass"
    options = "retry=Retry(max_attempts=5, retry_on=[ConnectionError], give_up_on=['Closed'])"

    found = [
        (await scene.failure(f"raise {raised}", head=head, options=options)).permanent
        for raised in ("ConnectionResetError", "Closed", "ValueError")
    ]

    assert found == [False, True, True]


async def test_lost_worker_is_tried_again_unless_it_is_named(scene: Scene) -> None:
    head = "from tidemill import Retry"

    async def dying(policy: str) -> Outcome:
        return await scene.failure("os._exit(1)", head=head, options=f"retry=Retry(max_attempts=5, {policy})")

    assert not (await dying("retry_on=[ValueError]")).permanent
    assert (await dying("give_up_on=['WorkerLost']")).permanent


async def test_attempts_wait_for_their_turn_and_are_cancelled_there() -> None:
    async with a_scene(workers=1) as scene:
        dag = scene.dag("time.sleep(0.2)\nreturn 1")
        for number in range(3):
            scene.start(scene.attempt(dag, run_id=f"run-{number}"))

        scene.executor.cancel("run-2", 0)

        outcomes = {one.run_id: one.kind for one in await scene.outcomes(3)}
        assert outcomes == {
            "run-0": OutcomeKind.SUCCEEDED,
            "run-1": OutcomeKind.SUCCEEDED,
            "run-2": OutcomeKind.CANCELLED,
        }


async def test_many_short_attempts_over_few_workers_are_all_reported() -> None:
    async with a_scene(workers=2) as scene:
        dag = scene.dag("if n % 50 == 7: os._exit(1)\nreturn n", takes="n", gives="n", run="n: int")
        for number in range(200):
            scene.start(scene.attempt(dag, run_id=f"run-{number}", parameters={"n": number}))

        outcomes = await scene.outcomes(200)

    lost = {one.run_id for one in outcomes if one.error_type == "WorkerLost"}
    assert lost == {"run-7", "run-57", "run-107", "run-157"}
    assert {int(orjson.loads(one.result)) for one in outcomes if one.kind is OutcomeKind.SUCCEEDED} == {
        number for number in range(200) if number % 50 != 7
    }
