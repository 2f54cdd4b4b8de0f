"""Runs and DAGs: reading them, steering them, asking for them by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import tidemill
from tidemill.dag.build import build
from tidemill.ids import run_id
from tidemill.routing.router import Router
from tidemill.runs import records
from tidemill.runs.view import encode_graph
from tidemill.storage.contract import (
    Disposition,
    DispositionKind,
    NewRun,
    Recorded,
    RouteBatch,
    RunEnd,
)


@tidemill.task
async def fetch(order: str) -> dict[str, str]:
    return {"order": order}


@tidemill.task(retries=2, timeout=30)
async def pack(fetched: Any) -> None:
    return None


@tidemill.task
async def send(packed: Any) -> None:
    return None


@tidemill.dag(dag_id="ship", tags=["shop"])
def ship(order: str, express: bool = False) -> Any:
    """Ship an order."""
    return send(pack(fetch(order)))


@pytest.fixture
def dag() -> Any:
    return build(ship, file="workflows/ship.py")


@pytest.fixture
def surface(serve: Callable[..., Any], make_project: Callable[..., Any], dag: Any) -> Any:
    return serve(project=make_project(dags={"ship": dag}))


async def start_run(surface: Any, dag: Any, event_id: str, *, trigger: str = "orders") -> str:
    """A queued run of an event of its own."""
    (position,) = await surface.append(event_id)
    run = run_id(trigger, "/shop", event_id, surface.clock.now_us())
    await surface.store.runs.route(
        RouteBatch(
            expected=surface.store.log.routed,
            cursor=position,
            dispositions=[Disposition(position, trigger, DispositionKind.RUN, run)],
            runs=[
                NewRun(
                    run_id=run,
                    dag="ship",
                    version=dag.version,
                    trigger=trigger,
                    position=position,
                    event_source="/shop",
                    event_id=event_id,
                    parameters=b'{"order":"7","express":false}',
                    queued_at=surface.clock.now_us(),
                    correlation_id=event_id,
                    hop_count=0,
                )
            ],
        )
    )
    surface.clock.jump(1)
    return str(run)


async def record(surface: Any, run: str, sequence: int, *what: Any, summary: RunEnd | None = None) -> None:
    row = Recorded(run, sequence, surface.clock.now_us(), records.encode(list(what)), summary=summary)
    await surface.store.runs.record([row])


async def fail(surface: Any, dag: Any, run: str) -> None:
    await surface.store.runs.save_version("ship", dag.version, dag.file, dag.source, encode_graph(dag))
    now = surface.clock.now_us()
    await record(
        surface,
        run,
        0,
        records.RunStarted(),
        records.TaskStarted("fetch", 1),
        records.TaskSucceeded("fetch", 1, b'{"order":"7"}'),
        records.TaskStarted("pack", 1),
        records.TaskFailed("pack", 1, records.Failure("ValueError", "no box", "Traceback …")),
        records.RunEnded("failed", "task pack failed"),
        summary=RunEnd("failed", now, now),
    )


async def test_run_is_shown_with_exactly_its_members_and_its_tasks(surface: Any, dag: Any) -> None:
    run = await start_run(surface, dag, "a")
    await fail(surface, dag, run)

    shown = (await surface.client.get(f"/api/v1/runs/{run}")).json()

    tasks = {task.pop("id"): task for task in shown.pop("tasks")}
    assert shown == {
        "id": run,
        "dag": "ship",
        "version": dag.version,
        "state": "failed",
        "trigger": "orders",
        "event": {"source": "/shop", "id": "a", "position": 1},
        "parameters": {"order": "7", "express": False},
        "queued_at": "2024-01-01T00:00:00.000000Z",
        "started_at": "2024-01-01T00:00:01.000000Z",
        "ended_at": "2024-01-01T00:00:01.000000Z",
        "reason": "task pack failed",
        "parent": None,
        "rerun_of": None,
        "progress": {
            "total": 3,
            "done": 3,
            "succeeded": 1,
            "failed": 1,
            "not_run": 1,
            "running": 0,
            "waiting": 0,
            "maps": [],
            "remaining_seconds": None,
            "ends_at": "2024-01-01T00:00:01.000000Z",
        },
    }
    assert list(tasks) == ["fetch", "pack", "send"]
    assert tasks["fetch"]["state"] == "succeeded"
    assert tasks["fetch"]["result"] == {"order": "7"}
    assert tasks["fetch"]["error"] is None
    assert tasks["pack"]["state"] == "failed"
    assert tasks["pack"]["attempts"] == 1
    assert tasks["pack"]["error"] == {"type": "ValueError", "message": "no box", "traceback": "Traceback …"}
    assert tasks["send"] == {
        "state": "upstream_failed",
        "attempts": 0,
        "started_at": None,
        "ended_at": None,
        "error": None,
        "result": None,
        "reused": None,
        "wait": None,
        "because": ["pack"],
    }


async def test_run_is_shown_by_its_definition_while_its_version_is_not_kept(surface: Any, dag: Any) -> None:
    run = await start_run(surface, dag, "a")

    shown = (await surface.client.get(f"/api/v1/runs/{run}")).json()

    assert [(task["id"], task["state"]) for task in shown["tasks"]] == [
        ("fetch", "pending"),
        ("pack", "pending"),
        ("send", "pending"),
    ]
    assert shown["started_at"] is None


async def test_runs_are_listed_newest_first_by_conditions_and_cursor(surface: Any, dag: Any) -> None:
    runs = [await start_run(surface, dag, name) for name in "abc"]
    other = await start_run(surface, dag, "d", trigger="manual")
    await fail(surface, dag, runs[0])

    async def listed(query: str) -> list[str]:
        answer = await surface.client.get(f"/api/v1/runs?{query}")
        return [item["id"] for item in answer.json()["items"]]

    assert await listed("") == [other, *reversed(runs)]
    assert await listed("state=failed") == [runs[0]]
    assert await listed("trigger=manual") == [other]
    assert await listed("dag=none") == []
    assert await listed("position=2") == [runs[1]]
    first = (await surface.client.get("/api/v1/runs?limit=3")).json()
    assert await listed(f"limit=3&before={first['next']}") == [runs[0]]


async def test_run_is_cancelled_by_a_durable_request(surface: Any, dag: Any) -> None:
    run = await start_run(surface, dag, "a")

    answer = await surface.client.post(f"/api/v1/runs/{run}/cancel")

    assert (answer.status_code, answer.json()["id"]) == (202, run)
    assert [(each.run_id, each.kind) for each in await surface.store.runs.requests()] == [(run, "cancel")]


async def test_run_that_ended_is_not_cancelled(surface: Any, dag: Any) -> None:
    run = await start_run(surface, dag, "a")
    await fail(surface, dag, run)

    answer = await surface.client.post(f"/api/v1/runs/{run}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert await surface.store.runs.requests() == []


@pytest.mark.parametrize("verb", ["cancel", "retry"])
async def test_run_that_does_not_exist_is_not_steered(surface: Any, verb: str) -> None:
    answer = await surface.client.post(f"/api/v1/runs/none/{verb}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# ── DAGs ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_dag_is_shown_with_graph_parameters_and_counts(surface: Any, dag: Any) -> None:
    await start_run(surface, dag, "a")
    run = await start_run(surface, dag, "b")
    await fail(surface, dag, run)

    shown = (await surface.client.get("/api/v1/dags/ship")).json()
    listed = (await surface.client.get("/api/v1/dags")).json()["items"]

    assert shown["description"] == "Ship an order."
    assert shown["runs"] == {"queued": 1, "failed": 1}
    assert shown["edges"] == [
        {"upstream": "fetch", "downstream": "pack"},
        {"upstream": "pack", "downstream": "send"},
    ]
    assert shown["tasks"][1]["retry"]["max_attempts"] == 3
    assert shown["tasks"][1]["timeout_seconds"] == 30
    assert shown["parameters"]["required"] == ["order"]
    assert shown["schedule"] is None
    assert [each["id"] for each in listed] == ["ship"]


# ── asking for runs ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def router(surface: Any) -> Any:
    """Routes what is asked for, as the service does."""
    routing = Router(surface.store, surface.project, clock=surface.clock, max_hops=16)
    running = asyncio.ensure_future(routing.run())
    yield routing
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def ask(surface: Any, body: Any, dag_id: str = "ship") -> Any:
    return await surface.client.post(f"/api/v1/dags/{dag_id}/runs", json=body)


@pytest.mark.usefixtures("router")
async def test_run_asked_for_by_hand_goes_through_the_log(surface: Any, dag: Any) -> None:
    answer = await ask(surface, {"parameters": {"order": "7"}})

    run = answer.json()
    assert answer.status_code == 202
    assert (run["dag"], run["trigger"], run["state"]) == ("ship", "manual", "queued")
    assert run["parameters"] == {"order": "7", "express": False}
    logged = await surface.store.log.get(run["event"]["position"])
    assert logged.event.type == "dev.tidemill.dag.requested.v1"
    assert run["id"] == run_id("manual", logged.event.source, logged.event.id, logged.received_at)
    assert (await surface.client.get(f"/api/v1/runs/{run['id']}")).json()["version"] == dag.version


@pytest.mark.usefixtures("router")
async def test_run_asked_for_twice_with_one_id_is_one_run(surface: Any) -> None:
    first = await ask(surface, {"parameters": {"order": "7"}, "id": "mine"})
    surface.clock.jump(3600)
    second = await ask(surface, {"parameters": {"order": "7"}, "id": "mine"})
    other = await ask(surface, {"parameters": {"order": "8"}, "id": "mine"})

    assert second.json()["id"] == first.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "id_reused")
    assert len((await surface.client.get("/api/v1/runs")).json()["items"]) == 1


@pytest.mark.usefixtures("router")
async def test_run_asked_for_twice_without_an_id_is_two_runs(surface: Any) -> None:
    first = await ask(surface, {"parameters": {"order": "7"}})
    second = await ask(surface, {"parameters": {"order": "7"}})

    assert first.json()["id"] != second.json()["id"]


async def test_run_with_wrong_parameters_is_refused_with_every_problem(surface: Any) -> None:
    answer = await ask(surface, {"parameters": {"express": "maybe", "other": 1}})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameters")
    assert {problem["location"] for problem in answer.json()["problems"]} == {"order", "express", "other"}
    assert "maybe" not in answer.text
    assert surface.store.log.head == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"parameters":{"order":"\\ud800"}}', 400, "invalid_unicode"),
        (b'{"id":"a","id":"b"}', 400, "duplicate_key"),
        (b'{"parameters":' + b"[" * 100 + b"]" * 100 + b"}", 400, "json_too_deep"),
        (b"[]", 422, "invalid_request"),
        (b'{"parameters":[]}', 422, "invalid_request"),
        (b'{"unknown":1}', 422, "invalid_request"),
        (b'{"id":""}', 422, "invalid_request"),
        (b'{"id":7}', 422, "invalid_request"),
        (b'{"id":"' + b"x" * 257 + b'"}', 422, "invalid_request"),
        (b'{"id":"a\\u0000"}', 422, "invalid_request"),
        (b" " * (1 << 20) + b"{}", 413, "payload_too_large"),
    ],
)
async def test_run_is_not_started_by_a_bad_body(surface: Any, body: bytes, status: int, code: str) -> None:
    answer = await surface.client.post(
        "/api/v1/dags/ship/runs", content=body, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert surface.store.log.head == 0


async def test_run_is_not_started_by_a_body_that_is_not_json(surface: Any) -> None:
    answer = await surface.client.post(
        "/api/v1/dags/ship/runs", content=b"{}", headers={"content-type": "text/plain"}
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.usefixtures("router")
async def test_failed_run_is_retried_once_until_the_retry_has_failed_too(surface: Any, dag: Any) -> None:
    run = (await ask(surface, {"parameters": {"order": "7"}})).json()["id"]
    await fail(surface, dag, run)

    first = (await surface.client.post(f"/api/v1/runs/{run}/retry")).json()
    again = (await surface.client.post(f"/api/v1/runs/{run}/retry")).json()
    await fail(surface, dag, first["id"])
    next_one = (await surface.client.post(f"/api/v1/runs/{run}/retry")).json()

    assert (first["trigger"], first["parameters"]["order"]) == ("retry", "7")
    assert again["id"] == first["id"] != run
    assert next_one["id"] not in (run, first["id"])


async def test_run_that_goes_on_is_not_retried(surface: Any, dag: Any) -> None:
    run = await start_run(surface, dag, "a")

    answer = await surface.client.post(f"/api/v1/runs/{run}/retry")

    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


async def test_run_is_answered_as_it_will_be_when_routing_is_slow(
    surface: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemill.api import manual

    monkeypatch.setattr(manual, "_WAIT_SECONDS", 0.0)

    answer = await ask(surface, {"parameters": {"order": "7"}})

    logged = await surface.store.log.get(1)
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    assert answer.json()["id"] == run_id("manual", logged.event.source, logged.event.id, logged.received_at)
