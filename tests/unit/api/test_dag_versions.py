"""Versions, pictures and moves of DAGs, and runs side by side, over the whole HTTP surface."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tidemill.dag.definition import Dag
from tidemill.ids import run_id
from tidemill.project.workflows import load_source
from tidemill.runs import records
from tidemill.runs.view import encode_graph
from tidemill.storage.contract import Disposition, DispositionKind, NewRun, Recorded, RouteBatch, RunEnd

LIVE = """
from tidemill import dag, failure_of, task
from _lib import RATE

@task
def first(n: int) -> int:
    return n * RATE

@task(retries=3)
def second(n: int) -> int:
    return n

@task
def repair() -> None:
    pass

@dag
def flow(n: int):
    second_ = second(first(n))
    failure_of(second_) >> repair()
"""
OLD = LIVE.replace("    failure_of(second_) >> repair()\n", "").replace("retries=3", "retries=1")


def version(text: str, rate: int = 1) -> Dag:
    modules = {"_lib.py": f"RATE = {rate}\n"}
    return load_source(dedent(text), "workflows/flow.py", "flow", modules=modules)


@pytest.fixture
def live() -> Dag:
    return version(LIVE)


@pytest.fixture
def old() -> Dag:
    return version(OLD, rate=2)


@pytest.fixture
async def surface(serve: Callable[..., Any], make_project: Callable[..., Any], live: Dag, old: Dag) -> Any:
    made = serve(project=make_project(dags={"flow": live}))
    for dag in (old, live):
        await made.store.runs.save_version(
            "flow", dag.version, dag.file, dag.source, encode_graph(dag), modules=dag.modules
        )
        made.clock.jump(1)
    return made


async def start(
    surface: Any, dag: Dag, name: str, *records_: records.Record, parameters: bytes = b'{"n":1}'
) -> str:
    (position,) = await surface.append(name)
    run = str(run_id("t", "/shop", name, surface.clock.now_us()))
    new = NewRun(
        run_id=run,
        dag="flow",
        version=dag.version,
        trigger="t",
        position=position,
        event_source="/shop",
        event_id=name,
        parameters=parameters,
        queued_at=surface.clock.now_us(),
        correlation_id=name,
        hop_count=0,
    )
    await surface.store.runs.route(
        RouteBatch(
            expected=surface.store.log.routed,
            cursor=position,
            dispositions=[Disposition(position, "t", DispositionKind.RUN, run)],
            runs=[new],
        )
    )
    now = surface.clock.now_us()
    if records_:
        body = records.encode([records.RunStarted(), *records_])
        await surface.store.runs.record([Recorded(run, 0, now, body, RunEnd("running", now))])
    surface.clock.jump(1)
    return run


FIRST_DONE = (records.TaskStarted("first", 1), records.TaskSucceeded("first", 1, b"5"))
SECOND_RETRIES = (
    *FIRST_DONE,
    records.TaskStarted("second", 1),
    records.TaskRetrying("second", 1, records.Failure("E", "later", ""), 10**15),
)


async def test_versions_are_listed_newest_first(surface: Any, live: Dag, old: Dag) -> None:
    listed = (await surface.client.get("/api/v1/dags/flow/versions")).json()["items"]

    assert [(one["version"], one["is_live"]) for one in listed] == [
        (live.version, True),
        (old.version, False),
    ]
    assert listed[1]["saved_at"] == "2024-01-01T00:00:00.000000Z"
    assert (await surface.client.get("/api/v1/dags/nobody/versions")).status_code == 404


async def test_version_is_found_by_its_beginning_and_told_with_its_texts(surface: Any, old: Dag) -> None:
    shown = (await surface.client.get(f"/api/v1/dags/flow/versions/{old.version[:6]}")).json()

    assert (shown["version"], shown["source"], shown["modules"]) == (
        old.version,
        old.source,
        {"_lib.py": "RATE = 2\n"},
    )
    assert shown["tasks"]["second"]["retry"] == "max_attempts=2"
    assert shown["problem"] == ""


async def test_version_that_cannot_be_loaded_any_more_is_told_by_its_graph(surface: Any) -> None:
    await surface.store.runs.save_version(
        "flow",
        "f00d00000000",
        "workflows/flow.py",
        "import nowhere_at_all",
        b'[["a",[]],["b",["a"]]]',
        modules={},
    )

    shown = (await surface.client.get("/api/v1/dags/flow/versions/f00d00000000")).json()
    drawn = (await surface.client.get("/api/v1/dags/flow/graph?version=f00d00000000")).json()

    assert list(shown["tasks"]) == ["a", "b"]
    assert "nowhere_at_all" in shown["problem"]
    assert [node["id"] for node in drawn["nodes"]] == ["a", "b"]


@pytest.mark.parametrize("name", ["zzzz", "0", "", "flow"])
async def test_version_that_is_not_there_is_not_found(surface: Any, name: str) -> None:
    answer = await surface.client.get(f"/api/v1/dags/flow/versions/{name}")

    assert answer.status_code == 404


async def test_graph_is_told_with_kinds_of_edges(surface: Any, live: Dag) -> None:
    graph = (await surface.client.get("/api/v1/dags/flow/graph")).json()

    assert (graph["version"], graph["run"], [node["id"] for node in graph["nodes"]]) == (
        live.version,
        None,
        ["first", "second", "repair"],
    )
    assert {(one["upstream"], one["downstream"]): one["kind"] for one in graph["edges"]} == {
        ("first", "second"): "success",
        ("second", "repair"): "failure",
    }


async def test_graph_is_drawn_in_every_format(surface: Any) -> None:
    answers = {
        form: await surface.client.get(f"/api/v1/dags/flow/graph?format={form}")
        for form in ("svg", "mermaid", "dot")
    }

    assert [answer.headers["content-type"] for answer in answers.values()] == [
        "image/svg+xml",
        "text/plain; charset=utf-8",
        "text/vnd.graphviz; charset=utf-8",
    ]
    ET.fromstring(answers["svg"].text)
    assert answers["mermaid"].text.startswith("flowchart LR\n")
    assert answers["dot"].text.startswith('digraph "flow" {')
    assert (await surface.client.get("/api/v1/dags/flow/graph?format=png")).status_code == 422


async def test_graph_of_a_run_is_that_of_its_version_with_states(surface: Any, old: Dag) -> None:
    run = await start(surface, old, "a", *SECOND_RETRIES)

    graph = (await surface.client.get(f"/api/v1/dags/flow/graph?run={run}")).json()

    assert (graph["version"], {one["id"]: one["state"] for one in graph["nodes"]}) == (
        old.version,
        {"first": "succeeded", "second": "retrying"},
    )
    assert (await surface.client.get("/api/v1/dags/flow/graph?run=nobody")).status_code == 404


async def test_run_that_fits_is_asked_to_be_moved(surface: Any, live: Dag, old: Dag) -> None:
    run = await start(surface, old, "a", *SECOND_RETRIES)

    answer = await surface.client.post(f"/api/v1/runs/{run}/migrate", json={})

    assert answer.status_code == 202
    assert answer.json() == {
        "id": run,
        "was": old.version,
        "version": live.version,
        "misfits": [],
        "is_asked": True,
    }
    (request,) = await surface.store.runs.requests()
    assert (request.run_id, request.kind, request.by) == (run, f"migrate:{live.version}", "api")


async def test_run_that_does_not_fit_is_refused_with_every_reason(surface: Any, live: Dag) -> None:
    other = version(
        OLD.replace("second(first(n))", "second(repair(n))").replace("def repair()", "def repair(n)")
    )
    await surface.store.runs.save_version(
        "flow", other.version, other.file, other.source, encode_graph(other), modules=other.modules
    )
    run = await start(surface, live, "a", *SECOND_RETRIES)
    asked = {"to": other.version}

    refused = await surface.client.post(f"/api/v1/runs/{run}/migrate", json=asked)
    dry = await surface.client.post(f"/api/v1/runs/{run}/migrate", json={**asked, "dry_run": True})

    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")
    assert (dry.status_code, dry.json()["is_asked"]) == (202, False)
    assert dry.json()["misfits"] == [
        "task 'first' has begun, and the new version has no such task",
        "task 'second' has begun, and in the new version it waits for 'repair', which has not ended",
    ]
    assert await surface.store.runs.requests() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [({"to": "nowhere"}, 404), ({"too": "x"}, 422), ({"to": 1}, 422), ({"to": "x" * 65}, 422)],
)
async def test_moves_that_cannot_be_understood_are_refused(
    surface: Any, live: Dag, body: dict[str, Any], status: int
) -> None:
    run = await start(surface, live, "a", *SECOND_RETRIES)

    answer = await surface.client.post(f"/api/v1/runs/{run}/migrate", json=body)

    assert answer.status_code in (status, 400)
    assert (await surface.client.post("/api/v1/runs/nobody/migrate", json={})).status_code == 404


async def test_run_on_the_version_already_is_refused(surface: Any, live: Dag) -> None:
    run = await start(surface, live, "a", *SECOND_RETRIES)

    answer = await surface.client.post(f"/api/v1/runs/{run}/migrate", json={"to": "live"})

    assert (answer.status_code, "already" in answer.json()["detail"]) == (409, True)


async def test_runs_are_compared(surface: Any, live: Dag, old: Dag) -> None:
    before = await start(surface, old, "a", *SECOND_RETRIES)
    after = await start(
        surface,
        live,
        "b",
        records.TaskStarted("first", 1),
        records.TaskSucceeded("first", 1, b"6"),
        parameters=b'{"n":2}',
    )

    found = (await surface.client.get(f"/api/v1/runs/{before}/diff/{after}")).json()

    assert (found["before"]["version"], found["after"]["version"]) == (old.version, live.version)
    assert found["parameters"] == [{"name": "n", "before": 1, "after": 2}]
    assert found["first"] == "first"
    tasks = {one["id"]: one for one in found["tasks"]}
    assert (tasks["first"]["before"]["result"], tasks["first"]["after"]["result"]) == (5, 6)
    assert tasks["repair"]["before"] is None
    assert (await surface.client.get(f"/api/v1/runs/{before}/diff/nobody")).status_code == 404
