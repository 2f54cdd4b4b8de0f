"""The surface as a whole: errors, headers, description, metrics, health."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

import tidemill
from tidemill.dag.build import build
from tidemill.errors import StoreUnavailable
from tidemill.patterns.filters import compile_filters
from tidemill.project.model import KafkaSink, Subscription, WebhookSink

METHODS = {"get", "post", "put", "patch", "delete", "head", "options"}


async def test_every_path_names_its_methods_to_others(surface: Any) -> None:
    paths = surface.app.openapi()["paths"]

    for path, operations in paths.items():
        filled = path.replace("{", "").replace("}", "").replace("position", "1")
        for method in METHODS - set(operations) - {"head"}:
            known = filled.replace("/webhooks/name", "/events")

            answer = await surface.client.request(method.upper(), known)

            assert answer.status_code == 405, (method, path)
            assert answer.headers["allow"].lower().split(", ") == sorted(operations), (method, path)
            assert answer.json()["code"] == "method_not_allowed"

    assert len(paths) >= 18


async def test_description_covers_intake_errors_and_authentication(surface: Any) -> None:
    document = (await surface.client.get("/api/v1/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {"/events", "/webhooks/{name}", "/metrics", "/api/v1/stream"}
    identifiers = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(identifiers) == len(set(identifiers))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            problem = operation["responses"]["default"]["content"]
            assert list(problem) == ["application/problem+json"]
            is_public = path.startswith(("/health/", "/callbacks/approvals/"))
            assert operation["security"] == ([] if is_public else [{"bearer": []}])
            assert "422" not in operation["responses"]


async def test_description_refers_to_nothing_that_is_missing(surface: Any) -> None:
    document = surface.app.openapi()

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(each) for each in value.values()))
        return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/none", "/metrics", "/health/live", "/"])
async def test_api_answers_carry_security_headers(surface: Any, path: str) -> None:
    headers = (await surface.client.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["cache-control"] == "no-store"


class BrokenRuns:
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def get(self, *_: Any, **__: Any) -> Any:
        raise self._error

    counts = list = get


async def test_api_answers_503_when_the_store_does(surface: Any) -> None:
    surface.store.runs = BrokenRuns(StoreUnavailable("disk I/O error in /var/lib/secret.db"))

    answer = await surface.client.get("/api/v1/runs")

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "secret" not in answer.text


async def test_api_answers_500_without_details_and_logs_them(
    surface: Any, caplog: pytest.LogCaptureFixture
) -> None:
    surface.store.runs = BrokenRuns(ZeroDivisionError("secret"))

    answer = await surface.client.get("/api/v1/runs")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["request.failed"]


@pytest.mark.parametrize(("over", "status"), [(-1, 404), (0, 404), (1, 431)])
async def test_header_block_is_limited(surface: Any, over: int, status: int) -> None:
    request = surface.client.build_request("GET", "/api/v1/none")
    used = sum(len(name) + len(value) for name, value in request.headers.raw)
    request.headers["x-pad"] = "p" * ((64 << 10) + over - used - len("x-pad"))

    answer = await surface.client.send(request)

    assert answer.status_code == status
    if status == 431:
        assert answer.json()["code"] == "headers_too_large"


async def test_readiness_follows_the_service_and_liveness_does_not(surface: Any) -> None:
    before = await surface.client.get("/health/ready")
    surface.is_ready = False

    after = await surface.client.get("/health/ready")
    live = await surface.client.get("/health/live")

    assert (before.status_code, before.json()) == (200, {"status": "ready"})
    assert (after.status_code, after.json()["code"]) == (503, "not_ready")
    assert live.status_code == 200


async def test_metrics_show_what_sources_stages_and_store_counted(surface: Any) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    headers = {"content-type": "application/cloudevents+json"}
    for content in (json.dumps(event), json.dumps(event), "{"):
        await surface.client.post("/events", content=content, headers=headers)
    surface.parts.metrics.task_attempts.labels("ship", "succeeded").inc(3)
    surface.parts.metrics.deliveries.labels("partner", "failed").inc()
    surface.parts.metrics.watch_queue("tasks", lambda: 7)

    answer = await surface.client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for expected in (
        'tidemill_events_total{kind="http",outcome="accepted",source="http"} 1.0',
        'tidemill_events_total{kind="http",outcome="duplicate",source="http"} 1.0',
        'tidemill_events_total{kind="http",outcome="refused",source="http"} 1.0',
        "tidemill_log_position 1.0",
        'tidemill_task_attempts_total{dag="ship",outcome="succeeded"} 3.0',
        'tidemill_deliveries_total{outcome="failed",subscription="partner"} 1.0',
        'tidemill_queue{queue="tasks"} 7.0',
    ):
        assert expected in lines


async def test_metrics_escape_names_from_outside(surface: Any) -> None:
    surface.parts.metrics.deliveries.labels('a"b\nc\\', "failed").inc()

    text = (await surface.client.get("/metrics")).text

    assert 'subscription="a\\"b\\nc\\\\"' in text


async def test_sources_show_their_status(surface: Any) -> None:
    await surface.client.post(
        "/events",
        json={"specversion": "1.0", "id": "1", "source": "/s", "type": "t"},
        headers={"content-type": "application/cloudevents+json"},
    )

    shown = (await surface.client.get("/api/v1/sources")).json()["items"]

    assert shown == [
        {
            "name": "http",
            "kind": "http",
            "state": "live",
            "accepted": 1,
            "duplicates": 0,
            "refused": 0,
            "last_event_at": "2024-01-01T00:00:00.000000Z",
            "last_event_age_seconds": 0.0,
            "lag": None,
            "error": "",
            "mode": "",
            "paused_at": None,
        }
    ]


async def test_subscriptions_show_no_credentials(serve: Any, make_project: Any) -> None:
    rule = compile_filters([{"exact": {"type": "t"}}])
    sinks = [
        WebhookSink(url="https://user:canary@partner.example:8443/in?token=canary"),
        KafkaSink(topic="done"),
    ]
    subscriptions = [
        Subscription(name=f"s{number}", rule=rule, sink=sink) for number, sink in enumerate(sinks)
    ]
    surface = serve(project=make_project(subscriptions=subscriptions))

    answer = await surface.client.get("/api/v1/subscriptions")

    assert "canary" not in answer.text
    assert [(each["sink"], each["target"]) for each in answer.json()["items"]] == [
        ("webhook", "https://partner.example:8443/in"),
        ("kafka", "done"),
    ]
    assert answer.json()["items"][0]["filters"] == [{"exact": {"type": "t"}}]


async def test_api_gives_up_on_a_body_that_does_not_end(serve: Any, make_project: Any) -> None:
    @tidemill.task
    async def only() -> None:
        return None

    @tidemill.dag(dag_id="one")
    def one() -> None:
        only()

    surface = serve(project=make_project(dags={"one": build(one)}), body_timeout_seconds=0.01)

    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    await surface.app(
        {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/dags/one/runs",
            "raw_path": b"/api/v1/dags/one/runs",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        },
        receive,
        send,
    )

    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "request_timeout"


async def test_websockets_are_refused(surface: Any) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await surface.app({"type": "websocket", "path": "/api/v1/stream", "headers": []}, None, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_answers_are_the_same_shape_from_intake_and_api(surface: Any) -> None:
    intake: httpx.Response = await surface.client.get("/webhooks/none")
    api: httpx.Response = await surface.client.get("/api/v1/runs/none")

    assert list(intake.json()) == list(api.json()) == ["type", "title", "status", "code", "detail"]
