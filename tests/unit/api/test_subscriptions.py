"""The CloudEvents Subscriptions API and the steering of subscriptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.project.model import KafkaSink, Subscription, WebhookSink
from tidemill.storage.contract import DeliveryAttempt, DeliveryMark, DeliveryState

HTTP = {"sink": "https://receiver.example/hook?token=canary", "protocol": "HTTP"}
PROJECT = [
    Subscription(
        name="failures",
        rule=compile_filters([{"exact": {"type": "dev.tidemill.run.failed.v1"}}]),
        sink=WebhookSink(url="https://receiver.example/?token=canary"),
        file="triggers/main.yaml",
        line=3,
    ),
    Subscription(
        name="all",
        rule=compile_pattern({"type": [{"prefix": "a"}]}),
        sink=KafkaSink(topic="done"),
        ordered=True,
    ),
]


async def create(surface: Any, **members: Any) -> Any:
    return await surface.client.post("/subscriptions", json={**HTTP, **members})


async def test_created_subscription_is_answered_whole_and_can_be_retrieved(surface: Any) -> None:
    written = {
        "id": "ignored",
        "source": "/shop",
        "types": ["order.placed"],
        "filters": [{"any": [{"prefix": {"subject": "a"}}, {"not": {"exact": {"subject": "b"}}}]}],
        "protocolsettings": {"headers": {"x-team": "orders"}, "method": "POST", "timeout": 5},
    }
    answer = await create(surface, **written)

    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/subscriptions/{made['id']}"
    assert made["id"] != "ignored"
    assert {name: made[name] for name in ("source", "types", "filters", "sink", "protocol")} == {
        **{name: written[name] for name in ("source", "types", "filters")},
        **HTTP,
    }
    assert made["protocolsettings"] == {
        "headers": {"x-team": "orders"},
        "method": "POST",
        "mode": "structured",
        "timeout": 5.0,
        "ordered": False,
        "max_attempts": 10,
        "sign": False,
    }
    assert (await surface.client.get(f"/subscriptions/{made['id']}")).json() == made
    assert (await surface.client.get("/subscriptions")).json() == [made]


async def test_change_is_told_in_the_log_without_the_sink(surface: Any) -> None:
    made = (await create(surface, types=["a"])).json()
    await surface.client.put(f"/subscriptions/{made['id']}", json={**HTTP, "types": ["b"]})
    await surface.client.delete(f"/subscriptions/{made['id']}")

    events = [(await surface.store.log.get(position)).event for position in (1, 2, 3)]
    assert [event.data["action"] for event in events] == ["created", "updated", "deleted"]
    assert [event.data["rule"] for event in events] == [{"types": ["a"]}, {"types": ["b"]}, {"types": ["b"]}]
    assert {event.type for event in events} == {"dev.tidemill.subscription.changed.v1"}
    assert "canary" not in json.dumps([event.data for event in events])


@pytest.mark.parametrize(
    ("members", "at"),
    [
        ({"filters": [{"xpath": "/a"}]}, "/filters/0/xpath"),
        (
            {"source": "/s", "types": ["t"], "filters": [{"exact": {"type": "a"}}, {"nope": {}}]},
            "/filters/1/nope",
        ),
        ({"filters": [{"exact": {"type": ""}}]}, "/filters/0/exact/type"),
        ({"filters": "all"}, "/filters"),
        ({"types": []}, "/types"),
        ({"types": [""]}, "/types/0"),
        ({"source": "no uri"}, "/source"),
        ({"protocol": "MQTT5"}, "/protocol"),
        ({"protocol": "http"}, "/protocol"),
        ({"protocol": "KAFKA", "sink": "kafka:topic"}, "/protocol"),
        ({"sink": "ftp://receiver.example/"}, "/sink"),
        ({"sink": "https://u:p@receiver.example/"}, "/sink"),
        ({"sinkcredential": {"credentialtype": "PLAIN", "secret": "canary"}}, "/sinkcredential"),
        ({"config": {"interval": "5"}}, "/config"),
        ({"protocolsettings": {"method": "PUT"}}, "/protocolsettings/method"),
        ({"protocolsettings": {"qos": 1}}, "/protocolsettings/qos"),
        (
            {"protocolsettings": {"headers": {"Authorization": "canary"}}},
            "/protocolsettings/headers/Authorization",
        ),
        ({"protocolsettings": {"headers": {"webhook-id": "x"}}}, "/protocolsettings/headers/webhook-id"),
        ({"protocolsettings": {"headers": {"x": "a\r\nb"}}}, "/protocolsettings/headers/x"),
        ({"protocolsettings": {"headers": {"Upgrade": "h2c"}}}, "/protocolsettings/headers/Upgrade"),
        ({"protocol": "KAFKA", "sink": "kafka://[x/topic"}, "/sink"),
        ({"protocol": "KAFKA", "sink": "kafka://u:canary@h/topic"}, "/sink"),
        ({"protocol": "canary"}, "/protocol"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_subscription_that_is_not_understood_is_refused_with_its_place(
    surface: Any, members: dict[str, Any], at: str
) -> None:
    answer = await create(surface, **members)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_subscription")
    assert at in [one["location"] for one in answer.json()["problems"]]
    assert "canary" not in answer.text
    assert (await surface.client.get("/subscriptions")).json() == []


@pytest.mark.parametrize("missing", ["sink", "protocol"])
async def test_required_member_is_missed(surface: Any, missing: str) -> None:
    body = {name: value for name, value in HTTP.items() if name != missing}

    answer = await surface.client.post("/subscriptions", json=body)

    assert answer.status_code == 400
    assert [one["location"] for one in answer.json()["problems"]] == [f"/{missing}"]


async def test_subscription_of_another_media_type_or_no_json_is_refused(surface: Any) -> None:
    text = await surface.client.post("/subscriptions", content="{}", headers={"content-type": "text/plain"})
    broken = await surface.client.post(
        "/subscriptions", content='{"a": 1, "a": 2}', headers={"content-type": "application/json"}
    )

    assert text.status_code == 415
    assert (broken.status_code, broken.json()["code"]) == (400, "duplicate_key")


async def test_kafka_subscription_goes_to_our_brokers_only(serve: Callable[..., Any]) -> None:
    surface = serve(kafka_bootstrap_servers="b1:9092,b2:9092")
    body = {"protocol": "KAFKA", "protocolsettings": {"topicname": "done"}}

    ours = await create(surface, **body, sink="kafka://b1:9092")
    short = await create(surface, protocol="KAFKA", sink="kafka:done")
    others = await create(surface, **body, sink="kafka://evil:9092")
    weak = await create(
        surface, protocol="KAFKA", sink="kafka:done", protocolsettings={"topicname": "done", "acks": "0"}
    )
    nameless = await create(surface, protocol="KAFKA", sink="kafka:")

    assert [answer.status_code for answer in (ours, short, others, weak, nameless)] == [
        201,
        201,
        400,
        400,
        400,
    ]
    listed = (await surface.client.get("/api/v1/subscriptions")).json()["items"]
    assert [(one["sink"], one["target"], one["origin"]) for one in listed] == [("kafka", "done", "api")] * 2


async def test_project_subscriptions_are_listed_and_read_only(
    serve: Callable[..., Any], make_project: Callable[..., Any]
) -> None:
    surface = serve(project=make_project(subscriptions=PROJECT))

    listed = (await surface.client.get("/subscriptions")).json()
    put = await surface.client.put("/subscriptions/failures", json=HTTP)
    deleted = await surface.client.delete("/subscriptions/failures")

    assert [one["id"] for one in listed] == ["failures", "all"]
    assert listed[0]["filters"] == [{"exact": {"type": "dev.tidemill.run.failed.v1"}}]
    assert listed[0]["config"] == {"readonly": "true", "file": "triggers/main.yaml", "line": "3"}
    assert listed[1]["filters"] == [{"pattern": {"type": [{"prefix": "a"}]}}]
    assert (put.status_code, deleted.status_code) == (409, 409)
    assert "canary" not in json.dumps(listed)


async def test_subscription_that_is_not_there_is_not_found(surface: Any) -> None:
    for method, path in [
        ("GET", "/subscriptions/x"),
        ("DELETE", "/subscriptions/x"),
        ("GET", "/api/v1/subscriptions/x"),
        ("GET", "/api/v1/subscriptions/x/attempts"),
        ("POST", "/api/v1/subscriptions/x/pause"),
        ("POST", "/api/v1/subscriptions/x/secrets"),
    ]:
        answer = await surface.client.request(method, path)

        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


async def test_id_of_an_update_must_be_the_one_of_the_path(surface: Any) -> None:
    made = (await create(surface)).json()
    path = f"/subscriptions/{made['id']}"

    assert (await surface.client.put(path, json={**HTTP, "id": "other"})).status_code == 400
    changed = await surface.client.put(path, json={**HTTP, "id": made["id"], "types": ["a"]})
    assert (changed.status_code, changed.json()["types"]) == (200, ["a"])


async def test_options_name_what_is_taken(surface: Any) -> None:
    every = await surface.client.options("/subscriptions")
    one = await surface.client.options("/subscriptions/x")

    assert (every.status_code, every.headers["allow"]) == (200, "GET, OPTIONS, POST")
    assert (one.status_code, one.headers["allow"]) == (200, "DELETE, GET, OPTIONS, PUT")


async def test_signing_secret_is_shown_once_and_kept_by_updates(surface: Any) -> None:
    signing = {"protocolsettings": {"sign": True}}
    made = (await create(surface, **signing)).json()
    path = f"/subscriptions/{made['id']}"

    changed = (await surface.client.put(path, json={**HTTP, **signing, "types": ["a"]})).json()
    rotated = await surface.client.post(f"/api/v1/subscriptions/{made['id']}/secrets", json={})
    shown = (await surface.client.get(path)).json()

    assert made["signingsecret"].startswith("whsec_")
    assert "signingsecret" not in changed
    assert rotated.json()["signingsecret"] != made["signingsecret"]
    assert "secret" not in json.dumps(shown)
    plain = (await create(surface)).json()
    refused = await surface.client.post(f"/api/v1/subscriptions/{plain['id']}/secrets", json={})
    assert refused.status_code == 409


async def test_state_is_steered_and_asking_again_changes_nothing(
    serve: Callable[..., Any], make_project: Callable[..., Any]
) -> None:
    surface = serve(project=make_project(subscriptions=PROJECT))
    path = "/api/v1/subscriptions/failures"

    async def ask(what: str, **body: Any) -> Any:
        return await surface.client.post(f"{path}/{what}", json=body)

    first = await ask("pause", by="ana", reason="mainte\nnance")
    again = await ask("pause", by="bob")
    enable = await ask("enable")
    resumed = await ask("resume", by="bob")

    assert (first.json()["state"], first.json()["reason"], first.json()["changed_by"]) == (
        "paused",
        "mainte nance",
        "ana",
    )
    assert again.json()["changed_by"] == "ana"
    assert enable.status_code == 409
    assert (resumed.json()["state"], resumed.json()["changed_by"]) == ("active", "bob")
    await surface.store.outbox.mark(
        [DeliveryMark("failures", 1, DeliveryState.PENDING, 1)], disabled={"failures": "gone"}
    )
    assert [(await ask(what)).status_code for what in ("pause", "resume", "enable")] == [409, 409, 200]


async def test_attempts_are_paged_newest_first(
    serve: Callable[..., Any], make_project: Callable[..., Any]
) -> None:
    surface = serve(project=make_project(subscriptions=PROJECT))
    attempts = [
        DeliveryAttempt(
            subscription="all",
            number=n,
            position=n,
            attempt=1,
            at=n * 1_000_000,
            duration_us=1500,
            outcome="failed",
            status=503,
            error="the receiver answered 503",
        )
        for n in range(1, 6)
    ]
    marks = [DeliveryMark("all", n, DeliveryState.PENDING, 1) for n in range(1, 6)]
    await surface.store.outbox.mark(marks, attempts=attempts)
    path = "/api/v1/subscriptions/all/attempts"

    first = (await surface.client.get(path, params={"limit": 3})).json()
    rest = (await surface.client.get(path, params={"limit": 3, "before": first["next"]})).json()

    assert [one["number"] for one in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    assert rest["next"] is None
    assert first["items"][0]["duration_ms"] == 1.5
    assert first["items"][0]["at"] == "1970-01-01T00:00:05.000000Z"
