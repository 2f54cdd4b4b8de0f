"""Reading the log and what became of its events."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.ids import new_id, run_id
from tidemill.storage.contract import (
    DeadLetter,
    Delivery,
    DeliveryMark,
    DeliveryState,
    Disposition,
    DispositionKind,
    NewRun,
    RouteBatch,
)


async def test_events_are_listed_newest_first_page_by_page(surface: Any) -> None:
    await surface.append("a", "b", "c", "d", "e")

    first = (await surface.client.get("/api/v1/events?limit=2")).json()
    second = (await surface.client.get(f"/api/v1/events?limit=2&before={first['next']}")).json()
    third = (await surface.client.get(f"/api/v1/events?limit=2&before={second['next']}")).json()

    pages = [[item["event"]["id"] for item in page["items"]] for page in (first, second, third)]
    assert pages == [["e", "d"], ["c", "b"], ["a"]]
    assert third["next"] is None


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("type=order.placed", ["b", "a"]),
        ("source=/other", ["c"]),
        ("id=b", ["b"]),
        ("type=order.placed&id=c", []),
        ("subject=none", []),
        ("type=' OR 1=1 --", []),
        ("type=%00%ff", []),
    ],
)
async def test_events_are_listed_by_conditions(surface: Any, query: str, ids: list[str]) -> None:
    await surface.append("a", "b")
    await surface.append("c", type="order.paid", source="/other")

    page = (await surface.client.get(f"/api/v1/events?{query}")).json()

    assert [item["event"]["id"] for item in page["items"]] == ids


async def test_event_is_shown_with_what_became_of_it(surface: Any) -> None:
    (position,) = await surface.append("a")
    run = run_id("orders", "/shop", "a", 0)
    await surface.store.runs.route(
        RouteBatch(
            expected=0,
            cursor=position,
            dispositions=[
                Disposition(position, "orders", DispositionKind.RUN, run),
                Disposition(position, "paused", DispositionKind.PAUSED, None, "by hand"),
            ],
            runs=[
                NewRun(
                    run_id=run,
                    dag="ship",
                    version="1",
                    trigger="orders",
                    position=position,
                    event_source="/shop",
                    event_id="a",
                    parameters=b"{}",
                    queued_at=0,
                    correlation_id="a",
                    hop_count=0,
                )
            ],
            deliveries=[Delivery(subscription="partner", position=position)],
        )
    )
    await surface.store.outbox.mark([DeliveryMark("partner", position, DeliveryState.DELIVERED, attempts=2)])

    shown = (await surface.client.get(f"/api/v1/events/{position}")).json()

    assert shown["event"] == {
        "specversion": "1.0",
        "id": "a",
        "source": "/shop",
        "type": "order.placed",
        "data": {"n": "a"},
    }
    assert shown["received_at"] == "2024-01-01T00:00:00.000000Z"
    assert shown["dispositions"] == [
        {"trigger": "orders", "kind": "run", "run": run, "detail": ""},
        {"trigger": "paused", "kind": "paused", "run": None, "detail": "by hand"},
    ]
    assert shown["deliveries"] == [
        {"subscription": "partner", "state": "delivered", "attempts": 2, "detail": ""}
    ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/events/1", 404),
        (f"/api/v1/events/{2**63 - 1}", 404),
        (f"/api/v1/events/{2**63}", 422),
        ("/api/v1/events/0", 422),
        ("/api/v1/events/-1", 422),
        ("/api/v1/events/x", 422),
        ("/api/v1/events?limit=0", 422),
        ("/api/v1/events?limit=1", 200),
        ("/api/v1/events?limit=1000", 200),
        ("/api/v1/events?limit=1001", 422),
        (f"/api/v1/events?before={2**63}", 422),
        ("/api/v1/events?before=" + "9" * 5000, 422),
        ("/api/v1/runs?state=lost", 422),
        (f"/api/v1/runs?position={2**63}", 422),
        ("/api/v1/runs?before=" + "x" * 65, 422),
        ("/api/v1/runs/" + "x" * 65, 422),
        ("/api/v1/dead-letters/" + "x" * 65, 422),
        ("/api/v1/dags/none", 404),
        ("/api/v1/none", 404),
        ("/", 404),
    ],
)
async def test_api_answers_bad_requests_with_a_problem(surface: Any, path: str, status: int) -> None:
    answer = await surface.client.get(path)

    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["code"] in ("not_found", "invalid_request")
    if status == 422:
        assert answer.json()["problems"][0].keys() == {"location", "detail"}


async def test_dead_letters_are_listed_and_shown_with_their_bytes(surface: Any) -> None:
    letters = [
        DeadLetter(
            id=new_id(),
            at=number,
            stage=stage,
            code="invalid_json",
            detail="bad",
            origin="orders",
            coordinates={"topic": "orders", "offset": number},
            body=b"\xff\x00" * 5000,
        )
        for number, stage in enumerate(["kafka", "files", "kafka"])
    ]
    await surface.store.dead_letters.add(letters)

    page = (await surface.client.get("/api/v1/dead-letters?stage=kafka&limit=1")).json()
    rest = (await surface.client.get(f"/api/v1/dead-letters?stage=kafka&before={page['next']}")).json()
    shown = (await surface.client.get(f"/api/v1/dead-letters/{letters[0].id}")).json()
    none = await surface.client.get("/api/v1/dead-letters/none")

    assert [item["coordinates"]["offset"] for item in page["items"] + rest["items"]] == [2, 0]
    assert "body" not in page["items"][0]
    assert len(shown["body"]) == 13336
    assert shown["body"].startswith("/wD/AP8A")
    assert none.status_code == 404
