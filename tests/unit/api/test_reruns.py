"""Runs that are made again, and the cache: what is checked, what the event says, and what is shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import tidemill
from tidemill.dag.build import build
from tidemill.routing.router import Router
from tidemill.runs import records
from tidemill.runs.view import encode_graph
from tidemill.storage.contract import CacheEntry, Recorded, Reuse, RunEnd


@tidemill.task
async def fetch(order: str) -> dict[str, str]:
    return {"order": order}


@tidemill.branch
async def decide(fetched: Any) -> str:
    return "pack"


@tidemill.task
async def pack(fetched: Any) -> None: ...


@tidemill.task
async def leave() -> None: ...


@tidemill.task
async def send(parcel: Any, to: str) -> None: ...


@tidemill.dag(dag_id="ship")
def ship(order: str, express: bool = False) -> Any:
    fetched = fetch(order)
    packed = pack(fetched)
    decide(fetched) >> [packed, leave()]
    send.partial(packed).expand(to=["a", "b"])


@pytest.fixture
def dag() -> Any:
    return build(ship, file="workflows/ship.py")


@pytest.fixture
def surface(serve: Callable[..., Any], make_project: Callable[..., Any], dag: Any) -> Any:
    return serve(project=make_project(dags={"ship": dag}))


@pytest.fixture
async def run(surface: Any, dag: Any) -> AsyncIterator[str]:
    """A run that has failed at `pack`, with a router that works."""
    router = Router(surface.store, surface.project, clock=surface.clock, max_hops=16)
    working = asyncio.create_task(router.run())
    await surface.store.runs.save_version("ship", dag.version, dag.file, dag.source, encode_graph(dag))
    asked = await surface.client.post("/api/v1/dags/ship/runs", json={"parameters": {"order": "7"}})
    made: str = asked.json()["id"]
    now = surface.clock.now_us()
    failure = records.Failure("ValueError", "no box", "")
    what = [
        records.RunStarted(),
        records.TaskStarted("fetch", 1),
        records.TaskSucceeded("fetch", 1, b'{"order":"7"}'),
        records.TaskStarted("decide", 1),
        records.TaskSucceeded("decide", 1, b'"pack"'),
        records.TaskStarted("pack", 1),
        records.TaskFailed("pack", 1, failure),
        records.RunEnded("failed", ""),
    ]
    await surface.store.runs.record(
        [Recorded(made, 0, now, records.encode(what), RunEnd("failed", now, now))]
    )
    yield made
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def again(surface: Any, run: str, **body: Any) -> Any:
    return await surface.client.post(f"/api/v1/runs/{run}/reruns", json=body)


async def test_rerun_is_an_event_that_says_all_that_was_asked(surface: Any, run: str, dag: Any) -> None:
    answer = await again(
        surface, run, **{"from": ["pack"], "edit": {"decide": "leave"}, "set": {"express": True}, "by": "ada"}
    )

    assert answer.status_code == 202
    made = answer.json()
    assert (made["trigger"], made["version"]) == ("retry", dag.version)
    assert made["parameters"] == {"order": "7", "express": True}
    logged = await surface.store.log.get(made["event"]["position"])
    assert logged.event.type == "dev.tidemill.run.retry_requested.v1"
    assert logged.event.data == {
        "dag": "ship",
        "run_id": run,
        "parameters": {"order": "7", "express": True},
        "by": "ada",
        "rerun": {
            "from": ["pack"],
            "only": [],
            "failed": False,
            "with_downstream": False,
            "edits": {"decide": "leave"},
            "changed": ["express"],
        },
        "version": dag.version,
    }
    shown = (await surface.client.get(f"/api/v1/runs/{made['id']}")).json()
    assert shown["rerun_of"] == {
        "run": run,
        "from": ["pack"],
        "only": [],
        "failed": False,
        "with_downstream": False,
        "edited": ["decide"],
        "parameters": ["express"],
        "by": "ada",
    }


async def test_rerun_asked_twice_with_one_request_id_is_one_run(surface: Any, run: str) -> None:
    first = (await again(surface, run, request_id="once")).json()
    surface.clock.jump(60)
    second = (await again(surface, run, request_id="once")).json()
    other = await again(surface, run, request_id="once", failed=True)
    fresh = (await again(surface, run)).json()

    assert second["id"] == first["id"]
    assert (other.status_code, other.json()["code"]) == (409, "id_reused")
    assert fresh["id"] != first["id"]


async def test_rerun_of_what_failed_with_what_is_below_names_where_it_begins(surface: Any, run: str) -> None:
    made = (await again(surface, run, failed=True, with_downstream=True)).json()

    shown = (await surface.client.get(f"/api/v1/runs/{made['id']}")).json()
    assert (shown["rerun_of"]["from"], shown["rerun_of"]["failed"]) == (["pack"], True)


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({"from": ["gone"]}, {"from.gone"}),
        ({"only": ["fetch[0]"], "from": ["send[x]"]}, {"only.fetch[0]", "from.send[x]"}),
        ({"edit": {"decide": "nowhere"}}, {"edit.decide"}),
        ({"edit": {"fetch": 1}, "from": ["fetch"]}, {"edit.fetch"}),
        ({"edit": {"send": []}}, {"edit.send"}),
        ({"edit": {"fetch": "x" * (1 << 21)}}, {"edit.fetch"}),
        ({"with_downstream": True}, {"with_downstream"}),
        ({"set": {"order": 7, "other": 1}}, {"order", "other"}),
    ],
)
async def test_rerun_that_does_not_fit_is_refused_with_every_place(
    surface: Any, run: str, body: dict[str, Any], places: set[str]
) -> None:
    head = surface.store.log.head

    answer = await again(surface, run, **body)

    if answer.status_code == 413:
        assert "x" * 100 in str(body)  # too large to be read at all
        return
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {one["location"] for one in answer.json()["problems"]} == places
    assert surface.store.log.head == head


@pytest.mark.parametrize(
    "body", [{"from": "pack"}, {"other": 1}, {"only": [""]}, {"on_version": "newest"}, {"by": "\n"}]
)
async def test_bad_body_is_refused(surface: Any, run: str, body: dict[str, Any]) -> None:
    answer = await again(surface, run, **body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_only_a_run_that_has_ended_is_made_again(surface: Any, run: str) -> None:
    going = (await again(surface, run)).json()["id"]

    assert (await again(surface, going)).status_code == 409
    assert (await again(surface, "nobody")).status_code == 404


async def test_version_that_is_gone_is_told_and_the_current_one_can_be_asked_for(
    surface: Any, run: str
) -> None:
    newer = build(ship, file="workflows/ship.py", source="# another text")
    surface.project.dags["ship"] = newer

    recorded = await again(surface, run)
    current = await again(surface, run, on_version="current")

    assert recorded.status_code == 409
    assert "on_version=current" in recorded.json()["detail"]
    assert current.json()["version"] == newer.version


async def test_task_shows_why_it_was_not_called(surface: Any, run: str) -> None:
    shown = (await surface.client.get(f"/api/v1/runs/{run}")).json()

    states = {task["id"]: (task["state"], task["because"]) for task in shown["tasks"]}
    assert states == {
        "fetch": ("succeeded", []),
        "decide": ("succeeded", []),
        "pack": ("failed", []),
        "leave": ("skipped", ["decide"]),
        "send": ("upstream_failed", ["pack"]),
    }


async def test_quarantined_runs_are_listed_until_they_are_run_again(surface: Any, run: str) -> None:
    where = "/api/v1/runs?quarantined=true"
    assert (await surface.client.get(where)).json()["items"] == []
    now = surface.clock.now_us()
    other = (await again(surface, run)).json()["id"]

    await surface.store.runs.record([Recorded(run, 1, now, b"[]", reuse=Reuse(quarantined=True))])
    listed = (await surface.client.get(where)).json()["items"]
    await surface.store.runs.record([Recorded(other, 0, now, b"[]", reuse=Reuse(released=run))])

    assert [one["id"] for one in listed] == [run]
    assert (await surface.client.get(where)).json()["items"] == []


async def test_cache_is_listed_by_pages_and_cleared_by_conditions(surface: Any, run: str) -> None:
    now = surface.clock.now_us()
    entries = [
        CacheEntry(f"{n:064x}", "ship", "fetch" if n < 3 else "pack", run, now + n, b"[1,2]")
        for n in range(5)
    ]
    await surface.store.runs.record([Recorded(run, 1, now, b"[]", reuse=Reuse(cached=entries))])

    first = (await surface.client.get("/api/v1/cache?limit=3")).json()
    rest = (await surface.client.get(f"/api/v1/cache?limit=3&before={first['next']}")).json()
    of_task = (await surface.client.get("/api/v1/cache?task=pack")).json()
    cleared = (await surface.client.delete("/api/v1/cache?dag=ship&task=fetch")).json()
    bad = await surface.client.get("/api/v1/cache?before=x")

    keys = [one["key"] for one in [*first["items"], *rest["items"]]]
    assert keys == [entry.key for entry in reversed(entries)]
    assert rest["next"] is None
    assert first["items"][0] == {
        "key": entries[4].key,
        "dag": "ship",
        "task": "pack",
        "run": run,
        "made_at": "2024-01-01T00:00:00.000004Z",
        "bytes": 5,
    }
    assert len(of_task["items"]) == 2
    assert cleared == {"cleared": 3}
    assert len((await surface.client.get("/api/v1/cache")).json()["items"]) == 2
    assert (await surface.client.delete("/api/v1/cache")).json() == {"cleared": 2}
    assert bad.status_code == 422
