"""`POST /webhooks/NAME` as its senders see it: mapping, identity, signatures, refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks

from tidemill.clock import SystemClock
from tidemill.errors import StoreUnavailable
from tidemill.events.event import Event
from tidemill.project.mapping import compile_template
from tidemill.project.model import Project, Secret, WebhookSource
from tidemill.settings import Settings
from tidemill.sources.contract import SourceState
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
OLD, NEW = "whsec_b2xkIHNlY3JldA==", "whsec_bmV3IHNlY3JldA=="

Post = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "tidemill.db", clock=clock)
    yield opened
    await opened.close()


def webhook(*, data: Any = None, secrets: Any = (), **attributes: Any) -> WebhookSource:
    written = {"type": "order.placed", "source": "/webhooks/orders", **attributes}
    return WebhookSource(
        name="orders",
        attributes={name: compile_template(value, root="request") for name, value in written.items()},
        data=None if data is None else compile_template(data, root="request"),
        secrets=[Secret(kind="env", place=name) for name in secrets],
    )


def project_of(root: Path, *sources: WebhookSource) -> Project:
    return Project(root=root, dags={}, triggers=(), subscriptions=(), sources=sources, version="1")


@pytest.fixture
async def post(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Post]:
    """Posts one body to one source and gives the answer."""
    clients: list[httpx.AsyncClient] = []

    async def send(
        source: WebhookSource,
        body: Any,
        content_type: str = JSON,
        *,
        path: str = "/webhooks/orders",
        headers: dict[str, str] | None = None,
        log: Any = None,
        method: str = "POST",
        **settings: Any,
    ) -> httpx.Response:
        project = project_of(tmp_path, source)
        ingest = WebhookIngest(
            log or store.log, project=lambda: project, clock=clock, settings=Settings(**settings)
        )
        client = httpx.AsyncClient(transport=httpx.ASGITransport(ingest), base_url="http://localhost")
        clients.append(client)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-type": content_type, **(headers or {})}
        return await client.request(method, path, content=content, headers=fields)

    yield send
    for client in clients:
        await client.aclose()


async def last(store: Store) -> Event:
    logged = await store.log.get(store.log.head)
    assert logged is not None
    return logged.event


# ── mapping ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_webhook_turns_json_into_the_declared_event(post: Post, store: Store) -> None:
    source = webhook(
        id="$.body.order.id",
        subject="orders/{$.body.order.id}",
        priority="$.body.order.priority",
        shop="$.headers.X-Shop",
        region="$.query.region",
        data={"amount": "$.body.order.amount"},
    )
    body = {"order": {"id": 4711, "amount": 12.5, "priority": 3}}

    answer = await post(source, body, path="/webhooks/orders", headers={"x-shop": "north"})
    refused = answer

    assert refused.status_code == 422
    assert refused.json()["code"] == "mapping_failed"
    assert refused.json()["attribute"] == "region"
    assert "$.query.region" in refused.json()["detail"]

    answer = await post(source, body, path="/webhooks/orders?region=eu", headers={"x-shop": "north"})

    assert (answer.status_code, answer.json()) == (202, {"position": 1, "duplicate": False})
    event = await last(store)
    assert (event.id, event.source, event.type) == ("4711", "/webhooks/orders", "order.placed")
    assert event.subject == "orders/4711"
    assert event.extensions == {"priority": 3, "shop": "north", "region": "eu"}
    assert event.data == {"amount": 12.5}


async def test_webhook_takes_the_whole_body_as_data_when_none_is_mapped(post: Post, store: Store) -> None:
    await post(webhook(), {"a": [1, {"b": None}]})

    assert (await last(store)).data == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    "content_type", ["application/vnd.shop.order+json", "application/json; charset=UTF-8"]
)
async def test_webhook_takes_json_by_any_of_its_names(post: Post, content_type: str) -> None:
    assert (await post(webhook(), {"a": 1}, content_type)).status_code == 202


async def test_webhook_turns_form_fields_into_data(post: Post, store: Store) -> None:
    answer = await post(webhook(id="$.body.order"), b"order=7&item=a&item=b+c&note=%C3%A9&empty=", FORM)

    assert answer.status_code == 202
    event = await last(store)
    assert event.id == "7"
    assert event.data == {"order": "7", "item": ["a", "b c"], "note": "é", "empty": ""}


async def test_webhook_leaves_out_an_optional_attribute_that_is_null(post: Post, store: Store) -> None:
    source = webhook(subject={"path": "$.body.subject", "default": None})

    await post(source, {})

    assert (await last(store)).subject is None


async def test_webhook_hides_credentials_from_templates(post: Post, store: Store) -> None:
    answer = await post(
        webhook(data="$.headers"),
        {},
        headers={"authorization": "Bearer canary", "cookie": "canary", "x-a": "b"},
    )

    assert answer.status_code == 202
    data = (await last(store)).data
    assert data["x-a"] == "b"
    assert "canary" not in json.dumps(data)


# ── identity ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_webhook_takes_the_same_body_as_the_same_event(post: Post, store: Store) -> None:
    await post(webhook(), {"a": 1})
    again = await post(webhook(), {"a": 1})
    other = await post(webhook(), {"a": 2})

    assert again.json() == {"position": 1, "duplicate": True}
    assert other.json() == {"position": 2, "duplicate": False}


async def test_webhook_takes_the_senders_message_id_when_none_is_mapped(post: Post, store: Store) -> None:
    await post(webhook(), {"a": 1}, headers={"webhook-id": "msg_1"})
    second = await post(webhook(), {"a": 1}, headers={"webhook-id": "msg_2"})

    assert second.json() == {"position": 2, "duplicate": False}
    assert (await last(store)).id == "msg_2"


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def signed_source(monkeypatch: pytest.MonkeyPatch) -> WebhookSource:
    monkeypatch.setenv("OLD_SECRET", OLD)
    monkeypatch.setenv("NEW_SECRET", NEW)
    return webhook(secrets=("OLD_SECRET", "NEW_SECRET"))


def sign(
    body: bytes, clock: ManualClock, *, secret: str = NEW, seconds: int = 0, message_id: str = "msg_1"
) -> dict[str, str]:
    at = datetime.fromtimestamp(clock.now_us() // 1_000_000 + seconds, UTC)
    signature = standardwebhooks.Webhook(secret).sign(message_id, at, body.decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_webhook_takes_what_any_of_its_secrets_signed(
    post: Post, clock: ManualClock, signed_source: WebhookSource, store: Store, secret: str
) -> None:
    answer = await post(signed_source, b'{"a":1}', headers=sign(b'{"a":1}', clock, secret=secret))

    assert answer.status_code == 202
    assert (await last(store)).id == "msg_1"


@pytest.mark.parametrize(("seconds", "status"), [(-301, 401), (-300, 202), (0, 202), (300, 202), (301, 401)])
async def test_webhook_takes_signatures_of_five_minutes_around_now(
    post: Post, clock: ManualClock, signed_source: WebhookSource, seconds: int, status: int
) -> None:
    answer = await post(signed_source, b"{}", headers=sign(b"{}", clock, seconds=seconds))

    assert answer.status_code == status
    if status == 401:
        assert answer.json()["code"] == "timestamp_out_of_window"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"webhook-id": ""}, "signature_missing"),
        ({"webhook-signature": ""}, "signature_missing"),
        ({"webhook-timestamp": ""}, "signature_missing"),
        ({"webhook-id": "msg_2"}, "signature_invalid"),
        ({"webhook-timestamp": "nan"}, "signature_invalid"),
        ({"webhook-timestamp": "9" * 400}, "signature_invalid"),
        ({"webhook-timestamp": "-1"}, "signature_invalid"),
        ({"webhook-timestamp": "\xb2"}, "signature_invalid"),
        ({"webhook-signature": "v1,bad"}, "signature_invalid"),
        ({"webhook-signature": "zzz"}, "signature_invalid"),
        ({"webhook-signature": "v1," + "A" * 5000}, "signature_invalid"),
        ({"webhook-signature": "v1a,AAAA"}, "signature_invalid"),
        ({"webhook-signature": "v1,é"}, "signature_invalid"),
        ({"webhook-signature": ","}, "signature_invalid"),
        ({"webhook-signature": " ".join(["v1,AAAA"] * 1000)}, "signature_invalid"),
    ],
)
async def test_webhook_refuses_hostile_signatures(
    post: Post,
    clock: ManualClock,
    signed_source: WebhookSource,
    store: Store,
    change: dict[str, str],
    code: str,
) -> None:
    fields = {name: value.encode("latin-1") for name, value in {**sign(b"{}", clock), **change}.items()}

    answer = await post(signed_source, b"{}", headers=fields)

    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert store.log.head == 0


async def test_webhook_verifies_the_bytes_before_it_parses_them(
    post: Post, clock: ManualClock, signed_source: WebhookSource
) -> None:
    answer = await post(signed_source, b"\xff{", headers=sign(b"{}", clock))

    assert answer.json()["code"] == "signature_invalid"


async def test_webhook_refuses_the_right_signature_of_another_body(
    post: Post, clock: ManualClock, signed_source: WebhookSource
) -> None:
    answer = await post(signed_source, b'{"a":2}', headers=sign(b'{"a":1}', clock))

    assert answer.status_code == 401


async def test_webhook_takes_one_right_signature_among_others(
    post: Post, clock: ManualClock, signed_source: WebhookSource
) -> None:
    fields = sign(b"{}", clock)
    fields["webhook-signature"] = f"v1a,AAAA v1,AAAA {fields['webhook-signature']}"

    assert (await post(signed_source, b"{}", headers=fields)).status_code == 202


async def test_webhook_without_its_secret_takes_nothing(
    store: Store, clock: ManualClock, tmp_path: Path, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SECRET", raising=False)
    source = webhook(secrets=("NO_SECRET",))

    answer = await post(source, {})

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert store.log.head == 0


async def test_webhook_says_in_its_status_which_secret_is_missing_and_never_what_it_is(
    store: Store, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret.txt").write_text("canary!")
    source = WebhookSource(
        name="orders", attributes=webhook().attributes, secrets=[Secret(kind="file", place="secret.txt")]
    )
    project = project_of(tmp_path, source)

    ingest = WebhookIngest(store.log, project=lambda: project, clock=clock, settings=Settings())

    (status,) = ingest.statuses()
    assert status.state is SourceState.STALLED
    assert "secret.txt" in status.error
    assert "canary" not in status.error + str([vars(record) for record in caplog.records])


async def test_webhook_follows_the_project_when_it_is_replaced(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    held = [project_of(tmp_path, webhook())]
    ingest = WebhookIngest(store.log, project=lambda: held[0], clock=clock, settings=Settings())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(ingest), base_url="http://localhost"
    ) as client:
        before = await client.post("/webhooks/orders", json={"a": 1})

        held[0] = project_of(tmp_path, webhook(type="order.changed"))
        after = await client.post("/webhooks/orders", json={"a": 2})
        held[0] = project_of(tmp_path)
        gone = await client.post("/webhooks/orders", json={"a": 3})

    assert (before.status_code, after.status_code, gone.status_code) == (202, 202, 404)
    assert (await last(store)).type == "order.changed"


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", JSON, 400, "invalid_json"),
        (b'{"a":1,"a":2}', JSON, 400, "duplicate_key"),
        (b'"\xff"', JSON, 400, "invalid_unicode"),
        (b"a=%ff", FORM, 400, "invalid_unicode"),
        (b"a=\xff", FORM, 400, "invalid_unicode"),
        (b"&".join(b"a%d=1" % number for number in range(1001)), FORM, 400, "invalid_encoding"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{}", "multipart/form-data; boundary=x", 415, "unsupported_media_type"),
        (b"{}", "application/json; charset=latin-1", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
    ],
)
async def test_webhook_refuses_what_it_cannot_read(
    post: Post, store: Store, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = await post(webhook(), body, content_type)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert store.log.head == 0


@pytest.mark.parametrize("value", [None, [], {}, 1.5, ""])
async def test_webhook_refuses_values_that_are_no_id(post: Post, value: Any) -> None:
    answer = await post(webhook(id="$.body.id"), {"id": value})

    assert (answer.status_code, answer.json()["code"]) == (422, "mapping_failed")
    assert answer.json()["attribute"] == "id"


async def test_webhook_refuses_a_type_of_our_own(post: Post) -> None:
    answer = await post(webhook(type="$.body.type"), {"type": "dev.tidemill.run.succeeded.v1"})

    assert answer.json()["code"] == "reserved_type"


@pytest.mark.parametrize("path", ["/webhooks/other", "/webhooks/", "/webhooks/orders/", "/webhooks/ORDERS"])
async def test_webhook_knows_only_its_exact_name(post: Post, path: str) -> None:
    answer = await post(webhook(), {}, path=path)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_webhook_refuses_other_methods(post: Post) -> None:
    answer = await post(webhook(), {}, method="GET")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(("over", "status"), [(-1, 202), (0, 202), (1, 413)])
async def test_webhook_limits_the_body_before_it_checks_the_signature(
    post: Post, clock: ManualClock, signed_source: WebhookSource, over: int, status: int
) -> None:
    body = b'"%b"' % (b"x" * (98 + over))
    headers = sign(body, clock) if status == 202 else {}

    answer = await post(signed_source, body, headers=headers, max_body_bytes=100)

    assert answer.status_code == status


class FailingLog:
    def overload(self) -> int | None:
        return None

    async def append(self, job: Any) -> Any:
        raise StoreUnavailable("EIO")


async def test_webhook_acknowledges_nothing_that_is_not_on_disk(post: Post) -> None:
    answer = await post(webhook(), {}, log=FailingLog())

    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_signature_agrees_with_the_reference_implementation() -> None:
    from tidemill.sources import signature

    clock = SystemClock()
    at = datetime.fromtimestamp(clock.now_us() // 1_000_000, UTC)
    for secret in (OLD, NEW, OLD.rstrip("="), OLD.removeprefix("whsec_")):
        fields = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": standardwebhooks.Webhook(secret).sign("msg_1", at, "body"),
        }

        signature.verify([signature.parse_secret(secret)], fields, b"body", now_us=clock.now_us())
        standardwebhooks.Webhook(secret).verify(b"body", fields, json_parse=False)
