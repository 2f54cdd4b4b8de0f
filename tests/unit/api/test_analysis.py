"""Analysis and progress of runs: what the API says of histories, and what the stream tells while they grow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import tidemill
from tidemill.api.progress import follow_progress
from tidemill.dag.build import build
from tidemill.ids import run_id
from tidemill.runs import records
from tidemill.runs.durations import WIDTH, TaskModel
from tidemill.runs.view import encode_graph
from tidemill.storage.contract import (
    Disposition,
    DispositionKind,
    NewRun,
    Recorded,
    RouteBatch,
    RunEnd,
    TaskDuration,
)

S = 1_000_000


@tidemill.task
async def fetch() -> list[int]:
    return [1, 2]


@tidemill.task
async def clean(rows: Any) -> list[int]:
    return []


@tidemill.task(size_by="rows")
async def load(rows: Any) -> int:
    return 1


@tidemill.task
async def report(cleaned: Any, loaded: Any) -> int:
    return 1


@tidemill.dag(dag_id="ship")
def ship() -> Any:
    rows = fetch()
    return report(clean(rows), load(rows))


@tidemill.dag(dag_id="spread")
def spread() -> Any:
    return load.expand(rows=fetch())


@pytest.fixture
def dag() -> Any:
    return build(ship, file="workflows/ship.py")


@pytest.fixture
def surface(serve: Callable[..., Any], make_project: Callable[..., Any], dag: Any) -> Any:
    return serve(project=make_project(dags={"ship": dag, "spread": build(spread)}), max_running_tasks=10)


async def start_run(surface: Any, dag: Any) -> str:
    (position,) = await surface.append("a")
    run = run_id("manual", "/shop", "a", surface.clock.now_us())
    await surface.store.runs.save_version(dag.dag_id, dag.version, dag.file, dag.source, encode_graph(dag))
    await surface.store.runs.route(
        RouteBatch(
            expected=surface.store.log.routed,
            cursor=position,
            dispositions=[Disposition(position, "manual", DispositionKind.RUN, run)],
            runs=[
                NewRun(
                    run_id=run,
                    dag=dag.dag_id,
                    version=dag.version,
                    trigger="manual",
                    position=position,
                    event_source="/shop",
                    event_id="a",
                    parameters=b"{}",
                    queued_at=surface.clock.now_us(),
                    correlation_id="a",
                    hop_count=0,
                )
            ],
        )
    )
    return str(run)


class History:
    """Writes a run's history, time going on as asked."""

    def __init__(self, surface: Any, run: str) -> None:
        self.surface, self.run, self.sequence = surface, run, 0
        self.begun = 0

    async def add(self, *what: Any, after: float = 0) -> None:
        self.surface.clock.jump(after)
        now = self.surface.clock.now_us()
        summary = None
        for record in what:
            match record:
                case records.RunStarted():
                    self.begun, summary = now, RunEnd("running", now, None)
                case records.RunEnded():
                    summary = RunEnd(record.state, self.begun, now)
                case _:
                    pass
        body = records.encode(list(what))
        await self.surface.store.runs.record([Recorded(self.run, self.sequence, now, body, summary=summary)])
        self.sequence += 1


def started(*tasks: str) -> list[Any]:
    return [records.TaskStarted(task, 1) for task in tasks]


def succeeded(*tasks: str) -> list[Any]:
    return [records.TaskSucceeded(task, 1, b"[1,2]") for task in tasks]


async def learn(surface: Any, dag_id: str = "ship", **seconds: float) -> None:
    rows = []
    for task, one in seconds.items():
        model = TaskModel()
        model.add(round(one * S))
        rows.append(TaskDuration(dag_id, task, 1, model.encoded()))
    await surface.store.durations.save(rows)


async def get(surface: Any, path: str, **query: Any) -> Any:
    answer = await surface.client.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ended(surface: Any, dag: Any) -> str:
    run = await start_run(surface, dag)
    history = History(surface, run)
    await history.add(records.RunStarted(), *started("fetch"))
    await history.add(*succeeded("fetch"), *started("clean"), after=10)
    await history.add(*started("load"), after=5)
    await history.add(*succeeded("clean"), after=5)
    await history.add(*succeeded("load"), *started("report"), after=20)
    await history.add(*succeeded("report"), records.RunEnded("succeeded", ""), after=10)
    return run


# ── analysis of runs ──


async def test_an_ended_run_is_analysed_as_it_was(surface: Any, dag: Any) -> None:
    run = await ended(surface, dag)

    found = await get(surface, f"runs/{run}/analysis")

    assert found["length_seconds"] == 50
    assert found["remaining_seconds"] is None
    assert [(step["task"], step["waiting_seconds"]) for step in found["critical_path"]] == [
        ("fetch", 0),
        ("load", 5),
        ("report", 0),
    ]
    assert sum(step["share"] for step in found["critical_path"]) == pytest.approx(1)
    assert {task["id"]: task["slack_seconds"] for task in found["tasks"]}["clean"] == 20
    assert found["waiting_seconds"] == 5
    assert {one["kind"] for one in found["bottlenecks"]} == {"work", "queue"}
    assert found["what_if"] is None
    assert found["progress"]["done"] == 4


async def test_what_if_a_task_were_not_there_or_faster(surface: Any, dag: Any) -> None:
    run = await ended(surface, dag)

    without = await get(surface, f"runs/{run}/analysis", without=["load", "clean"])
    faster = await get(surface, f"runs/{run}/analysis", faster="load=0.5")
    one_slot = await get(surface, f"runs/{run}/analysis", slots=1)

    # 10 s, then 10 s and 25 s side by side, then 10 s.
    assert (without["what_if"]["before_seconds"], without["what_if"]["after_seconds"]) == (45, 20)
    assert faster["what_if"]["after_seconds"] == 32.5
    assert (one_slot["what_if"]["after_seconds"], one_slot["what_if"]["lower_bound_seconds"]) == (55, 55)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("without=nobody", "nobody"),
        ("faster=load", "TASK=SHARE"),
        ("faster=load%3Dnan", "TASK=SHARE"),
        ("faster=%3D1", "TASK=SHARE"),
        ("faster=load%3D-1", "TASK=SHARE"),
        ("slots=0", "slots"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    surface: Any, dag: Any, query: str, place: str
) -> None:
    run = await ended(surface, dag)

    answer = await surface.client.get(f"/api/v1/runs/{run}/analysis?{query}")

    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == "invalid_request"
    assert place in json.dumps(answer.json()["problems"])


async def test_a_run_that_goes_on_is_expected_to_end_by_what_was_learned(surface: Any, dag: Any) -> None:
    await learn(surface, fetch=10, clean=10, load=100, report=10)
    history = History(surface, await start_run(surface, dag))
    await history.add(records.RunStarted(), *started("fetch"))
    await history.add(*succeeded("fetch"), *started("clean", "load"), after=10)
    surface.clock.jump(40)

    found = await get(surface, f"runs/{history.run}/analysis")
    shown = await get(surface, f"runs/{history.run}")

    assert found["remaining_seconds"] == pytest.approx(60 + 10, rel=0.1)
    assert [step["expected"] for step in found["critical_path"]] == [False, True, True]
    assert shown["progress"]["remaining_seconds"] == pytest.approx(found["remaining_seconds"], abs=0.001)
    assert shown["progress"]["running"] == 2


async def test_the_size_of_an_input_that_is_known_decides_what_is_expected(surface: Any, dag: Any) -> None:
    model = TaskModel()
    for size in (2, 2, 2, 200, 200, 200, 200, 200):
        model.add(size * S, size)
    await surface.store.durations.save([TaskDuration("ship", "load", 1, model.encoded())])
    history = History(surface, await start_run(surface, dag))
    await history.add(records.RunStarted(), *started("fetch"))

    before = await get(surface, f"runs/{history.run}/analysis")
    await history.add(*succeeded("fetch"), after=1)
    after = await get(surface, f"runs/{history.run}/analysis")

    def expected(found: Any) -> float:
        return next(task["expected_seconds"] for task in found["tasks"] if task["id"] == "load")

    assert expected(before) == pytest.approx(200, rel=0.1)
    assert expected(after) == pytest.approx(2, rel=0.1)


async def test_a_run_that_waits_to_start_is_expected_to_take_the_longest_way(surface: Any, dag: Any) -> None:
    await learn(surface, fetch=1, clean=2, load=3, report=4)
    run = await start_run(surface, dag)

    found = await get(surface, f"runs/{run}/analysis")

    assert found["length_seconds"] == pytest.approx(8, rel=0.06)
    assert found["remaining_seconds"] is None


async def test_nobody_is_analysed(surface: Any) -> None:
    for path in ("runs/none/analysis", "runs/none/progress", "dags/none/analysis"):
        assert (await surface.client.get(f"/api/v1/{path}")).status_code == 404


# ── analysis of DAGs ──


async def test_a_dag_is_analysed_by_what_was_learned(surface: Any) -> None:
    await learn(surface, fetch=1, clean=2, load=30)

    found = await get(surface, "dags/ship/analysis")

    assert [step["task"] for step in found["critical_path"]] == ["fetch", "load", "report"]
    assert {task["id"]: task["learned"] for task in found["tasks"]} == {
        "fetch": True,
        "clean": True,
        "load": True,
        "report": False,
    }
    assert found["bottlenecks"][0]["task"] == "load"


async def test_a_map_is_expected_to_be_as_wide_as_it_was(surface: Any) -> None:
    await learn(surface, "spread", fetch=1, load=10, **{"load" + WIDTH: 40})

    found = await get(surface, "dags/spread/analysis", slots=20)

    # Ten at a time (max_running_tasks), so that forty take four turns; with twenty slots two.
    assert found["length_seconds"] == pytest.approx(1 + 4 * 10, rel=0.1)
    assert found["what_if"]["after_seconds"] == pytest.approx(1 + 2 * 10, rel=0.1)
    assert "limit" in {one["kind"] for one in found["bottlenecks"]}


async def test_what_is_known_in_another_form_is_not_known(surface: Any) -> None:
    await surface.store.durations.save([TaskDuration("ship", "load", 1, b"[9]")])

    found = await get(surface, "dags/ship/analysis")

    assert not any(task["learned"] for task in found["tasks"])


# ── the stream of progress ──


def frames_of(text: bytes) -> list[tuple[str, str | None, Any]]:
    """(event, id, data) of each frame."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


async def test_stream_tells_of_the_run_until_its_end(surface: Any, dag: Any) -> None:
    run = await ended(surface, dag)

    answer = await surface.client.get(f"/api/v1/runs/{run}/progress")

    ((event, identity, data),) = frames_of(answer.content)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (event, identity) == ("end", "5")
    assert (data["run"], data["state"], data["done"], data["total"]) == (run, "succeeded", 4, 4)
    assert not surface.parts.followers


async def test_stream_tells_of_each_change_once_and_goes_on_after_a_reconnect(surface: Any, dag: Any) -> None:
    run = await start_run(surface, dag)
    history = History(surface, run)
    summary = await surface.store.runs.get(run)

    async def told(after: int, count: int) -> list[tuple[str, str | None, int]]:
        frames = follow_progress(surface.parts, summary, after=after, every_seconds=0.001)
        found: list[tuple[str, str | None, int]] = []
        async with asyncio.timeout(10):
            async for text in frames:
                found += [(event, identity, data["done"]) for event, identity, data in frames_of(text)]
                if len(found) >= count:
                    break
        await frames.aclose()
        return found

    waiting = await told(-1, 1)
    await history.add(records.RunStarted(), *started("fetch"))
    await history.add(*succeeded("fetch"), *started("clean", "load"), after=1)
    first = await told(-1, 1)
    following = asyncio.ensure_future(told(1, 2))
    await asyncio.sleep(0.01)
    await history.add(*succeeded("clean"), after=1)
    await asyncio.sleep(0.05)
    failure = records.Failure("ValueError", "no")
    await history.add(records.TaskFailed("load", 1, failure), records.RunEnded("failed", ""), after=1)

    assert waiting == [("progress", None, 0)]
    assert first == [("progress", "1", 1)]
    assert await following == [("progress", "2", 2), ("end", "3", 4)]


async def test_a_client_that_knows_the_end_is_told_to_stay_away(surface: Any, dag: Any) -> None:
    run = await ended(surface, dag)

    answer = await surface.client.get(f"/api/v1/runs/{run}/progress", headers={"last-event-id": "5"})

    assert answer.status_code == 204


async def test_more_clients_than_there_is_room_for_come_back_later(surface: Any, dag: Any) -> None:
    run = await ended(surface, dag)
    surface.parts.followers.update(object() for _ in range(256))

    answer = await surface.client.get(f"/api/v1/runs/{run}/progress")

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "5"


async def test_progress_counts_the_task_runs_of_maps(surface: Any) -> None:
    made = build(spread)
    history = History(surface, await start_run(surface, made))
    await history.add(records.RunStarted(), *started("fetch"))
    await history.add(*succeeded("fetch"), after=1)
    await history.add(records.TaskExpanded("load", 2), *started("load[0]", "load[1]"))
    await history.add(*succeeded("load[0]"), after=1)

    progress = (await get(surface, f"runs/{history.run}"))["progress"]

    assert (progress["done"], progress["total"]) == (2, 3)
    assert progress["maps"] == [
        {
            "task": "load",
            "total": 2,
            "done": 1,
            "succeeded": 1,
            "failed": 0,
            "not_run": 0,
            "running": 1,
            "waiting": 0,
        }
    ]
