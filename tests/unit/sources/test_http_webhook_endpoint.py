"""What a webhook's endpoint asks and answers beyond its events: challenges, handshakes, limits, its own answers."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.project.door import Door, EventSchema
from tidemill.project.endpoint import Access, AnswerSpec, Preset, parse_rate
from tidemill.project.mapping import compile_template
from tidemill.project.model import Project, Secret, WebhookSource
from tidemill.settings import Settings
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

EXAMPLES = json.loads(
    (Path(__file__).parents[2] / "data" / "github-webhooks" / "examples.json").read_text("utf-8")
)
SECRET = "a secret"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "tidemill.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return Secret(kind="env", place="HOOK_SECRET")


@pytest.fixture
async def open_hook(
    store: Store, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """A client of the one webhook `hook`."""
    clients: list[httpx.AsyncClient] = []

    def make(
        *, settings: dict[str, Any] | None = None, door: Door | None = None, **members: Any
    ) -> httpx.AsyncClient:
        written = members.pop("event", {"type": "it.happened", "source": "/hook"})
        attributes = {name: compile_template(value, root="request") for name, value in written.items()}
        source = WebhookSource(name="hook", attributes=attributes, **members)
        project = Project(
            root=tmp_path,
            dags={},
            triggers=(),
            subscriptions=(),
            sources=(source,),
            version="1",
            door=door or Door(),
        )
        ingest = WebhookIngest(
            store.log, project=lambda: project, clock=clock, settings=Settings(**(settings or {}))
        )
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(ingest), base_url="http://localhost/webhooks/"
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


Open = Callable[..., httpx.AsyncClient]


def slack_fields(body: bytes, clock: ManualClock) -> dict[str, str]:
    at = clock.now_us() // 1_000_000
    digest = hmac.new(SECRET.encode(), b"v0:%d:%b" % (at, body), hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-slack-request-timestamp": str(at),
        "x-slack-signature": f"v0={digest}",
    }


def github_fields(body: bytes, event: str, delivery: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }


# ── GitHub's own payloads ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(EXAMPLES))
async def test_github_payload_becomes_one_event_by_its_delivery(
    open_hook: Open, store: Store, secret: Secret, name: str
) -> None:
    client = open_hook(
        secrets=[secret],
        signature=Preset.GITHUB,
        event={"type": "com.github.{$.headers.x-github-event}", "source": "/github"},
    )
    body = json.dumps(EXAMPLES[name]).encode()

    first = await client.post("hook", content=body, headers=github_fields(body, name, "d-1"))
    again = await client.post("hook", content=body, headers=github_fields(body, name, "d-1"))
    other = await client.post("hook", content=body, headers=github_fields(body, name, "d-2"))
    tampered = await client.post(
        "hook", content=body.replace(b"{", b"{ ", 1), headers=github_fields(body, name, "d-3")
    )

    assert [each.json().get("duplicate") for each in (first, again, other)] == [False, True, False]
    assert tampered.json()["code"] == "signature_invalid"
    logged = await store.log.get(1)
    assert logged is not None
    assert (logged.event.id, logged.event.type) == ("d-1", f"com.github.{name}")
    assert logged.event.data == EXAMPLES[name]


# ── challenges ────────────────────────────────────────────────────────────────────────────────────────────


async def test_slack_challenge_is_given_back_when_it_is_signed(
    open_hook: Open, store: Store, secret: Secret, clock: ManualClock
) -> None:
    client = open_hook(secrets=[secret], signature=Preset.SLACK)
    body = b'{"token":"x","challenge":"3eZbrw1aB10FEMAGAZd4FyFQ","type":"url_verification"}'

    signed = await client.post("hook", content=body, headers=slack_fields(body, clock))
    unsigned = await client.post("hook", content=body, headers={"content-type": "application/json"})

    assert (signed.status_code, signed.text) == (200, "3eZbrw1aB10FEMAGAZd4FyFQ")
    assert signed.headers["content-type"] == "text/plain; charset=utf-8"
    assert signed.headers["x-content-type-options"] == "nosniff"
    assert unsigned.json()["code"] == "signature_missing"
    assert store.log.head == 0


@pytest.mark.parametrize("challenge", ['"\\u0000"', '"\\u00e9"', "5", '""', '"' + "x" * 1001 + '"'])
async def test_slack_challenge_that_is_none_is_an_event(
    open_hook: Open, store: Store, secret: Secret, clock: ManualClock, challenge: str
) -> None:
    client = open_hook(secrets=[secret], signature=Preset.SLACK)
    body = b'{"challenge":%b,"type":"url_verification"}' % challenge.encode()

    answer = await client.post("hook", content=body, headers=slack_fields(body, clock))

    assert answer.status_code == 202
    assert store.log.head == 1


async def test_slack_event_that_is_sent_again_is_the_same_event(
    open_hook: Open, secret: Secret, clock: ManualClock
) -> None:
    client = open_hook(secrets=[secret], signature=Preset.SLACK)
    body = b'{"type":"event_callback","event_id":"Ev08MFMKH6"}'

    first = await client.post("hook", content=body, headers=slack_fields(body, clock))
    await clock.run_for(10)
    again = await client.post(
        "hook", content=body, headers={**slack_fields(body, clock), "x-slack-retry-num": "1"}
    )

    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)


async def test_challenge_of_an_endpoint_without_that_scheme_is_an_event(
    open_hook: Open, store: Store
) -> None:
    answer = await open_hook().post("hook", json={"type": "url_verification", "challenge": "x"})

    assert answer.status_code == 202
    assert store.log.head == 1


# ── the handshake (CloudEvents HTTP Webhook, section 4) ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("origins", "origin", "is_allowed"),
    [
        ("eventemitter.example.com", "eventemitter.example.com", True),
        ("other.example, EventEmitter.example.com", "eventemitter.EXAMPLE.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "notexample.com", False),
        ("*", "anything.example", True),
        ("*", "two words", False),
        ("*", "-", False),
        ("*", "a" * 300, False),
        ("example.com", "example.org", False),
        ("", "example.org", False),
        (None, "example.org", False),
    ],
)
async def test_handshake_grants_what_the_setting_names(
    open_hook: Open, origins: str | None, origin: str, is_allowed: bool
) -> None:
    client = open_hook(settings={"handshake_origins": origins})

    answer = await client.options("hook", headers={"webhook-request-origin": origin})

    if is_allowed:
        assert answer.status_code == 200
        assert answer.headers["webhook-allowed-origin"] == origin
        assert answer.headers["webhook-allowed-rate"] == "*"
        assert answer.headers["allow"] == "POST, OPTIONS"
    else:
        assert answer.status_code == 405
        assert "webhook-allowed-origin" not in answer.headers
        assert "webhook-allowed-rate" not in answer.headers


@pytest.mark.parametrize(
    ("rate", "asked", "granted"),
    [
        (None, "120", "120"),
        (None, "0", "*"),
        (None, "-5", "*"),
        (None, "9" * 30, "*"),
        ("60/m", None, "60"),
        ("60/m", "120", "60"),
        ("60/m", "30", "30"),
        ("2/s", None, "120"),
        ("1/h", None, "1"),
    ],
)
async def test_handshake_grants_no_more_requests_than_the_endpoint_takes(
    open_hook: Open, rate: str | None, asked: str | None, granted: str
) -> None:
    client = open_hook(settings={"handshake_origins": "*"}, rate=None if rate is None else parse_rate(rate))
    fields = {"webhook-request-origin": "a.example", "webhook-request-callback": "https://a.example/confirm"}
    if asked is not None:
        fields["webhook-request-rate"] = asked

    answer = await client.options("hook", headers=fields)

    assert answer.headers["webhook-allowed-rate"] == granted


async def test_handshake_of_an_endpoint_that_is_not_there_is_refused(open_hook: Open) -> None:
    client = open_hook(settings={"handshake_origins": "*"})

    answer = await client.options("other", headers={"webhook-request-origin": "a.example"})

    assert answer.status_code == 404


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rate_is_limited_before_anything_is_read_and_says_when_to_come_back(
    open_hook: Open, clock: ManualClock, store: Store
) -> None:
    client = open_hook(rate=parse_rate("30/m", burst=2))

    answers = [await client.post("hook", json={"n": n}) for n in range(3)]

    assert [each.status_code for each in answers] == [202, 202, 429]
    assert answers[2].json()["code"] == "rate_limited"
    assert answers[2].headers["retry-after"] == "2"
    assert store.log.head == 2

    await clock.run_for(2)

    assert [(await client.post("hook", json={"n": n})).status_code for n in (3, 4)] == [202, 429]


async def test_rate_gives_no_more_than_the_burst_after_a_long_silence(
    open_hook: Open, clock: ManualClock
) -> None:
    client = open_hook(rate=parse_rate("10/s", burst=3))
    await clock.run_for(3600)

    assert [(await client.post("hook", json=n)).status_code for n in range(4)] == [202, 202, 202, 429]


async def test_rate_survives_a_clock_that_is_put_back(open_hook: Open, clock: ManualClock) -> None:
    client = open_hook(rate=parse_rate("1/s", burst=1))
    await client.post("hook", json=1)

    clock.jump(-3600)

    assert (await client.post("hook", json=2)).status_code == 429
    await clock.run_for(1)
    assert (await client.post("hook", json=3)).status_code == 202


@pytest.mark.parametrize(("size", "status"), [(49, 202), (50, 202), (51, 413)])
async def test_body_of_an_endpoint_has_a_limit_of_its_own(open_hook: Open, size: int, status: int) -> None:
    client = open_hook(max_body_bytes=50)

    answer = await client.post(
        "hook", content=b'"%b"' % (b"x" * (size - 2)), headers={"content-type": "application/json"}
    )

    assert answer.status_code == status


async def test_body_limit_of_an_endpoint_is_never_above_the_services(open_hook: Open) -> None:
    client = open_hook(max_body_bytes=100, settings={"max_body_bytes": 10})

    assert (await client.post("hook", json="x" * 20)).status_code == 413


# ── the endpoint's own answer ─────────────────────────────────────────────────────────────────────────────


def answer_spec(**members: Any) -> AnswerSpec:
    headers = {
        name: compile_template(value, root="answer") for name, value in members.pop("headers", {}).items()
    }
    body = members.pop("body", None)
    return AnswerSpec(
        headers=headers, body=None if body is None else compile_template(body, root="answer"), **members
    )


async def test_answer_is_made_of_the_event_and_its_place(open_hook: Open) -> None:
    client = open_hook(
        answer=answer_spec(
            status=201,
            headers={"x-position": "$.position", "x-type": "$.event.type"},
            body={
                "ok": True,
                "id": "$.event.id",
                "again": "$.duplicate",
                "n": "$.event.data.n",
                "runs": "$.runs",
            },
        )
    )

    first = await client.post("hook", json={"n": 7}, headers={"webhook-id": "m-1"})
    again = await client.post("hook", json={"n": 7}, headers={"webhook-id": "m-1"})

    assert first.status_code == 201
    assert first.headers["x-position"] == "1"
    assert first.headers["x-type"] == "it.happened"
    assert first.headers["content-type"] == "application/json"
    assert first.json() == {"ok": True, "id": "m-1", "again": False, "n": 7, "runs": []}
    assert again.json()["again"] is True


async def test_answer_may_be_text_or_nothing(open_hook: Open) -> None:
    text = open_hook(answer=answer_spec(content_type="text/plain", body="got {$.event.data.name}"))
    empty = open_hook(answer=answer_spec(status=204))

    told = await text.post("hook", json={"name": "<b>é</b>"})
    silent = await empty.post("hook", json={"n": 2})

    assert (told.status_code, told.text) == (200, "got <b>é</b>")
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    assert told.headers["x-content-type-options"] == "nosniff"
    assert (silent.status_code, silent.content) == (204, b"")
    assert "content-length" not in silent.headers
    assert "content-type" not in silent.headers


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b=c", "a\nb", "a\x00", "é", "x" * 1001, ""])
async def test_answer_leaves_out_a_header_value_that_could_end_its_field(open_hook: Open, value: str) -> None:
    client = open_hook(answer=answer_spec(headers={"x-echo": "$.event.data.v", "x-sure": "1"}, body="ok"))

    answer = await client.post("hook", json={"v": value})

    assert answer.status_code == 200
    assert "x-echo" not in answer.headers
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-sure"] == "1"


async def test_answer_that_cannot_be_made_is_the_usual_receipt(open_hook: Open, store: Store) -> None:
    client = open_hook(answer=answer_spec(headers={"x-a": "$.event.data.a"}, body="$.event.data.missing"))

    answer = await client.post("hook", json={})

    assert (answer.status_code, answer.json()) == (202, {"position": 1, "duplicate": False})
    assert store.log.head == 1


async def test_answer_of_a_refused_request_is_the_refusal(open_hook: Open) -> None:
    client = open_hook(answer=answer_spec(status=200, body="ok"), max_body_bytes=5)

    answer = await client.post("hook", json={"too": "large"})

    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


# ── schemas ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_data_that_does_not_follow_its_schema_is_refused_with_every_place_and_no_value(
    open_hook: Open, store: Store
) -> None:
    import jsonschema_rs

    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"lines": {"items": {"properties": {"quantity": {"type": "integer"}}}}},
    }
    validator = jsonschema_rs.validator_for(schema, mask="the value")
    door = Door([EventSchema(identity="urn:order", validator=validator, types=["it.happened"])])
    client = open_hook(door=door)

    answer = await client.post("hook", json={"lines": [{"quantity": 1}, {"quantity": "canary"}]})

    assert (answer.status_code, answer.json()["code"]) == (422, "schema_violation")
    assert {one["attribute"] for one in answer.json()["problems"]} == {"/data", "/data/lines/1/quantity"}
    assert "canary" not in answer.text
    assert store.log.head == 0
    assert (await client.post("hook", json={"id": 1, "lines": []})).status_code == 202


# ── who needs the token ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("access", "has_secret", "needs_token"),
    [
        (None, False, True),
        (None, True, False),
        (Access.SIGNATURE, True, False),
        (Access.TOKEN, True, True),
        (Access.TOKEN, False, True),
        (Access.NONE, False, False),
    ],
)
async def test_endpoint_is_open_without_the_token_only_by_a_signature_or_expressly(
    store: Store, secret: Secret, tmp_path: Path, access: Access | None, has_secret: bool, needs_token: bool
) -> None:
    source = WebhookSource(name="hook", attributes={}, secrets=[secret] if has_secret else [], access=access)
    project = Project(root=tmp_path, dags={}, triggers=(), subscriptions=(), sources=(source,), version="1")
    ingest = WebhookIngest(store.log, project=lambda: project, clock=ManualClock(), settings=Settings())

    assert ingest.is_open("/webhooks/hook") is not needs_token
    assert not ingest.is_open("/webhooks/other")
    assert not ingest.is_open("/webhooks/hook/")
    assert not ingest.is_open("/webhooks/")
