"""Sources as the API shows and pauses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidemill.project import mapping
from tidemill.project.model import WebhookSource
from tidemill.telemetry.metrics import METRICS, event_families

EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
JSON = {"content-type": "application/cloudevents+json"}


async def test_source_shows_what_it_counted_and_how_long_ago(surface: Any) -> None:
    await surface.client.post("/events", json=EVENT, headers=JSON)
    surface.clock.advance(90)

    answer = await surface.client.get("/api/v1/sources/http")

    shown = answer.json()
    assert answer.status_code == 200
    assert (shown["name"], shown["kind"], shown["state"], shown["accepted"]) == ("http", "http", "live", 1)
    assert shown["last_event_age_seconds"] == 90.0
    assert shown["paused_at"] is None


async def test_paused_source_refuses_with_when_to_come_back_until_it_is_resumed(surface: Any) -> None:
    paused = await surface.client.post("/api/v1/sources/http/pause")
    again = await surface.client.post("/api/v1/sources/http/pause")
    refused = await surface.client.post("/events", json=EVENT, headers=JSON)
    listed = (await surface.client.get("/api/v1/sources")).json()["items"][0]
    resumed = await surface.client.post("/api/v1/sources/http/resume")
    accepted = await surface.client.post("/events", json=EVENT, headers=JSON)

    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert again.json()["paused_at"] == paused.json()["paused_at"] == listed["paused_at"]
    assert (refused.status_code, refused.json()["code"]) == (503, "source_paused")
    assert int(refused.headers["retry-after"]) > 0
    assert (resumed.json()["state"], resumed.json()["paused_at"]) == ("live", None)
    assert accepted.json() == {"position": 1, "duplicate": False}


async def test_paused_webhook_leaves_others_open(
    serve: Callable[..., Any], make_project: Callable[..., Any]
) -> None:
    attributes = {
        "type": mapping.compile_template("t", root="request"),
        "source": mapping.compile_template("/s", root="request"),
    }
    sources = [WebhookSource(name=name, attributes=attributes) for name in ("shut", "open")]
    surface = serve(project=make_project(sources=sources))
    await surface.client.post("/api/v1/sources/shut/pause")

    shut = await surface.client.post("/webhooks/shut", json={"n": 1})
    is_open = await surface.client.post("/webhooks/open", json={"n": 1})

    assert (shut.status_code, shut.json()["code"]) == (503, "source_paused")
    assert is_open.status_code == 202


async def test_unknown_source_is_not_found(surface: Any) -> None:
    answers = [
        await surface.client.get("/api/v1/sources/nothing"),
        await surface.client.post("/api/v1/sources/nothing/pause"),
        await surface.client.post("/api/v1/sources/nothing/resume"),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


async def test_metrics_show_the_state_and_the_time_of_the_last_event(surface: Any) -> None:
    await surface.client.post("/events", json=EVENT, headers=JSON)
    await surface.client.post("/api/v1/sources/http/pause")

    text = (await surface.client.get("/metrics")).text

    assert 'tidemill_source_state{kind="http",source="http",state="paused"} 1.0' in text
    assert 'tidemill_source_last_event_timestamp_seconds{kind="http",source="http"} 1.7040672e+09' in text
    assert {family.name for family in event_families([])} <= {name.removesuffix("_total") for name in METRICS}
