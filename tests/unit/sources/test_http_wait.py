"""`Prefer: wait=N` as senders meet it: a real service, the run's result in the answer, or a receipt in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.sources.preference import wanted_seconds

WORKFLOW = """
import asyncio
from tidemill import dag, task

HOLD = asyncio.Event()

@task
async def double(n: int) -> int:
    return 2 * n

@task
async def fail(n: int) -> int:
    raise ValueError("no")

@task
async def hold(n: int) -> int:
    await HOLD.wait()
    return n

@dag
def doubling(n: int):
    return double(n)

@dag
def failing(n: int):
    return fail(n)

@dag
def holding(n: int):
    return hold(n)
"""
TRIGGERS = """
sources:
  - name: numbers
    webhook:
      event: {type: number.came, id: "$.body.id"}
  - name: asked
    webhook:
      event: {type: number.came, id: "$.body.id"}
      answer: {status: 200, body: {doubled: "$.runs[0].result"}}
triggers:
  - {name: doubles, dag: doubling, filters: [{exact: {type: number.came}}], parameters: {n: $.data.n}}
  - {name: both, dag: failing, filters: [{exact: {type: number.both}}], parameters: {n: $.data.n}}
  - {name: both-too, dag: doubling, filters: [{exact: {type: number.both}}], parameters: {n: $.data.n}}
  - {name: holds, dag: holding, filters: [{exact: {type: number.held}}], parameters: {n: $.data.n}}
  - name: settled
    dag: doubling
    filters: [{exact: {type: number.settled}}]
    parameters: {n: $.data.n}
    admission: {debounce: {period: 300ms}}
  - {name: broken, dag: doubling, filters: [{exact: {type: number.broken}}], parameters: {n: $.data.none}}
  - {name: paused, dag: doubling, paused: true, filters: [{exact: {type: number.paused}}], parameters: {n: 1}}
"""


def write_project(root: Path) -> None:
    (root / "workflows").mkdir()
    (root / "triggers").mkdir()
    (root / "workflows" / "numbers.py").write_text(WORKFLOW, "utf-8")
    (root / "triggers" / "numbers.yaml").write_text(TRIGGERS, "utf-8")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write_project(tmp_path)
    made = Service(tmp_path, Settings(port=0, drain_seconds=0, max_wait_seconds=20, max_waiting_requests=3))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as opened:
        yield opened


def event(id: str, type: str = "number.came", n: int = 21) -> dict[str, Any]:  # noqa: A002
    return {"specversion": "1.0", "id": id, "source": "/test", "type": type, "data": {"n": n}}


async def post(client: httpx.AsyncClient, *events: dict[str, Any], wait: object = 10) -> httpx.Response:
    is_batch = len(events) > 1
    return await client.post(
        "/events",
        content=json.dumps(events if is_batch else events[0]),
        headers={
            "content-type": f"application/cloudevents{'-batch' if is_batch else ''}+json",
            "prefer": f"wait={wait}",
        },
    )


async def test_sender_that_waits_gets_the_result_of_its_run(client: httpx.AsyncClient) -> None:
    answer = await post(client, event("1"))

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=10"
    body = answer.json()
    assert (body["position"], body["duplicate"]) == (1, False)
    (run,) = body["runs"]
    assert (run["dag"], run["trigger"], run["state"], run["result"]) == (
        "doubling",
        "doubles",
        "succeeded",
        42,
    )


async def test_sender_that_sends_again_gets_the_same_result_at_once(client: httpx.AsyncClient) -> None:
    first = (await post(client, event("1"))).json()
    again = await post(client, event("1"))

    assert again.status_code == 200
    assert again.json() == {**first, "duplicate": True}


async def test_sender_gets_every_run_with_its_own_state(client: httpx.AsyncClient) -> None:
    answer = await post(client, event("1", "number.both"))

    runs = {run["trigger"]: run for run in answer.json()["runs"]}
    assert answer.status_code == 200
    assert (runs["both-too"]["state"], runs["both-too"]["result"]) == ("succeeded", 42)
    assert (runs["both"]["state"], runs["both"]["result"]) == ("failed", None)
    assert runs["both"]["error"] is not None


async def test_batch_waits_for_all_of_its_runs(client: httpx.AsyncClient) -> None:
    answer = await post(client, event("1", n=1), event("2", n=2))

    assert answer.status_code == 200
    assert [each["runs"][0]["result"] for each in answer.json()["events"]] == [2, 4]


async def test_sender_of_an_event_that_is_held_back_gets_the_result_of_the_run_it_shares(
    client: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(*[post(client, event(str(n), "number.settled", n=n)) for n in (1, 2)])

    assert [answer.status_code for answer in answers] == [200, 200]
    runs = [answer.json()["runs"][0] for answer in answers]
    assert runs[0]["run"] == runs[1]["run"]
    assert runs[0]["state"] == "succeeded"


async def test_sender_gets_a_receipt_when_its_time_is_up_and_the_run_goes_on(
    client: httpx.AsyncClient, service: Service
) -> None:
    answer = await post(client, event("1", "number.held"), wait=1)

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert answer.headers["location"] == "/api/v1/events/1"
    (run,) = answer.json()["runs"]
    assert run["state"] is None
    assert (await client.get(answer.headers["location"])).json()["dispositions"][0]["run"] == run["run"]
    held(service).set()
    assert (await post(client, event("1", "number.held"))).json()["runs"][0]["result"] == 21


@pytest.mark.parametrize("event_type", ["number.unknown", "number.broken", "number.paused"])
async def test_sender_of_what_starts_nothing_is_not_kept_waiting(
    client: httpx.AsyncClient, event_type: str
) -> None:
    began = time.monotonic()

    answer = await post(client, event("1", event_type), wait=20)

    assert (answer.status_code, answer.json()["runs"]) == (202, [])
    assert time.monotonic() - began < 10


async def test_senders_beyond_the_limit_get_a_receipt_at_once(
    client: httpx.AsyncClient, service: Service
) -> None:
    waiting = [asyncio.create_task(post(client, event(str(n), "number.held"), wait=20)) for n in range(3)]
    while service.store.log.head < 3:  # noqa: ASYNC110 - the log is the sign
        await asyncio.sleep(0.005)

    answer = await post(client, event("more"), wait=20)

    assert (answer.status_code, answer.json()["runs"]) == (202, [])
    assert answer.headers["location"] == "/api/v1/events/4"
    held(service).set()
    assert [task.status_code for task in await asyncio.gather(*waiting)] == [200, 200, 200]


async def test_sender_that_goes_away_leaves_its_place_to_another(
    client: httpx.AsyncClient, service: Service
) -> None:
    async with httpx.AsyncClient(base_url=service.url) as impatient:
        for n in range(3):
            with pytest.raises(httpx.ReadTimeout):
                await impatient.post(
                    "/events",
                    content=json.dumps(event(str(n), "number.held")),
                    headers={"content-type": "application/cloudevents+json", "prefer": "wait=20"},
                    timeout=httpx.Timeout(10, read=0.3),
                )

    for _ in range(100):
        answer = await post(client, event("other"))
        if answer.status_code == 200:
            break
        await asyncio.sleep(0.05)

    assert answer.json()["runs"][0]["result"] == 42
    held(service).set()


async def test_stop_lets_senders_go_with_a_receipt(client: httpx.AsyncClient, service: Service) -> None:
    waiting = asyncio.create_task(post(client, event("1", "number.held"), wait=20))
    while not await service.store.runs.dispositions(1):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.005)

    service.ask_to_stop()
    answer = await asyncio.wait_for(waiting, 5)

    assert answer.status_code == 202


async def test_webhook_waits_as_events_do(client: httpx.AsyncClient) -> None:
    answer = await client.post("/webhooks/numbers", json={"id": "1", "n": 4}, headers={"prefer": "wait=10"})
    shaped = await client.post("/webhooks/asked", json={"id": "2", "n": 5}, headers={"prefer": "wait=10"})
    unasked = await client.post("/webhooks/numbers", json={"id": "3", "n": 6})

    assert (answer.status_code, answer.json()["runs"][0]["result"]) == (200, 8)
    assert (shaped.status_code, shaped.json()) == (200, {"doubled": 10})
    assert shaped.headers["preference-applied"] == "wait=10"
    assert (unasked.status_code, unasked.json()) == (202, {"position": 5, "duplicate": False})


def held(service: Service) -> asyncio.Event:
    """What the DAG `holding` waits for."""
    event: asyncio.Event = service.project.dags["holding"].tasks[0].function.__globals__["HOLD"]
    return event


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ([], 0),
        (["wait=10"], 10),
        (["Wait = 7"], 7),
        (['wait="7"'], 7),
        (["respond-async, wait=10"], 10),
        (["wait=10; foo=bar, wait=20"], 10),
        (["return=minimal", "wait=3"], 3),
        (["wait"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=99999999999"], 0),
        (["waits=10"], 0),
        (["\xff=;,wait=2"], 2),
    ],
)
def test_preference_is_read_or_passed_over(written: list[str], seconds: int) -> None:
    headers = [(b"host", b"x"), *((b"prefer", value.encode("latin-1")) for value in written)]

    assert wanted_seconds(headers) == seconds
