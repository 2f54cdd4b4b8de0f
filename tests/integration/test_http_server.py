"""The surface on a real server (uvicorn, httptools): sockets, slow senders, streams cut and resumed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tidemill.api.application import create_application
from tidemill.api.parts import Parts
from tidemill.clock import SystemClock
from tidemill.events.event import Event
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.sources.http import HttpIngest
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Append, Store
from tidemill.storage.sqlite import open_store

STRUCTURED = {"content-type": "application/cloudevents+json"}


@dataclasses.dataclass
class Server:
    """A server that listens."""

    port: int
    parts: Parts
    store: Store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def listening(app: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, port=0, loop="none", http="httptools", log_level="critical", access_log=False
    )
    server = uvicorn.Server(config)
    started = asyncio.Event()
    startup = server.startup

    async def tell(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = tell  # type: ignore[method-assign]
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    serving = asyncio.ensure_future(server.serve())
    await started.wait()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:

        async def serve(**given: Any) -> Server:
            settings = Settings(**given)
            store = await open_store(tmp_path / "tidemill.db", clock=clock)
            stack.push_async_callback(store.close)
            project = Project(root=tmp_path, dags={}, triggers=(), subscriptions=(), sources=(), version="1")
            parts = Parts(
                store=store,
                project=lambda: project,
                ingest=HttpIngest(store.log, clock=clock, settings=settings),
                webhooks=WebhookIngest(store.log, project=lambda: project, clock=clock, settings=settings),
                settings=settings,
                clock=clock,
                ready=lambda: True,
                statuses=list,
            )
            port = await stack.enter_async_context(listening(create_application(parts)))
            # Open streams must end before the server waits for its connections.
            stack.callback(parts.stopping.set)
            return Server(port, parts, store)

        yield serve


def event(event_id: str, **members: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "id": event_id, "source": "/s", "type": "t", **members}).encode()


async def exchange(port: int, request: bytes) -> bytes:
    """Everything the server says to `request` until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_server_takes_events_in_every_mode_over_one_connection(start: Callable[..., Any]) -> None:
    server = await start()

    async with httpx.AsyncClient(base_url=server.url) as client:
        structured = await client.post("/events", content=event("1"), headers=STRUCTURED)
        packed = await client.post(
            "/events", content=gzip.compress(event("2")), headers={**STRUCTURED, "content-encoding": "gzip"}
        )
        binary = await client.post(
            "/events",
            json={"n": 3},
            headers={"ce-specversion": "1.0", "ce-id": "3", "ce-source": "/s", "ce-type": "t"},
        )
        batch = await client.post(
            "/events",
            content=b"[%b,%b]" % (event("4"), event("1")),
            headers={"content-type": "application/cloudevents-batch+json"},
        )
        listed = await client.get("/api/v1/events")

    assert [answer.status_code for answer in (structured, packed, binary, batch, listed)] == [202] * 4 + [200]
    assert batch.json()["events"] == [
        {"position": 4, "duplicate": False},
        {"position": 1, "duplicate": True},
    ]
    assert [item["event"]["id"] for item in listed.json()["items"]] == ["4", "3", "2", "1"]


async def test_server_takes_a_chunked_body_and_limits_it(start: Callable[..., Any]) -> None:
    server = await start(max_body_bytes=10_000)

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for place in range(0, len(body), 700):
            yield body[place : place + 700]

    async with httpx.AsyncClient(base_url=server.url) as client:
        small = await client.post("/events", content=chunks(event("1", data="x" * 9000)), headers=STRUCTURED)
        large = await client.post(
            "/events", content=chunks(event("2", data="x" * 200_000)), headers=STRUCTURED
        )
        declared = await client.post("/events", content=event("3", data="x" * 200_000), headers=STRUCTURED)

    assert (small.status_code, large.status_code, declared.status_code) == (202, 413, 413)
    assert server.store.log.head == 1


async def test_server_answers_a_huge_declared_body_without_asking_for_it(start: Callable[..., Any]) -> None:
    server = await start()

    answer = await exchange(
        server.port,
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\n"
        b"content-length: 99999999999\r\nexpect: 100-continue\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


async def test_server_gives_up_on_a_slow_body(start: Callable[..., Any]) -> None:
    server = await start(body_timeout_seconds=0.05)

    answer = await exchange(
        server.port,
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\n"
        b'content-length: 100\r\n\r\n{"spec',
    )

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer
    assert server.store.log.head == 0


async def test_server_stores_nothing_of_a_body_that_is_cut_off(start: Callable[..., Any]) -> None:
    server = await start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\n"
        b"content-length: 500\r\n\r\n" + event("1")
    )
    await writer.drain()

    writer.close()
    await writer.wait_closed()
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post("/events", content=event("2"), headers=STRUCTURED)

    assert answer.json() == {"position": 1, "duplicate": False}


@pytest.mark.parametrize(
    "request_line",
    [b"GET http://[ HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /%00%ff%zz HTTP/1.1", b"\x00", b"GET"],
)
async def test_server_never_answers_500_to_a_broken_request(
    start: Callable[..., Any], request_line: bytes
) -> None:
    server = await start()

    answer = await exchange(server.port, request_line + b"\r\nhost: localhost\r\nconnection: close\r\n\r\n")

    assert answer.split(b" ")[1] in (b"400", b"404")


async def read_stream(url: str, *, count: int, headers: dict[str, str]) -> list[tuple[int, str]]:
    """`count` events as (position, id) of one connection, which is then cut."""
    found: list[tuple[int, str]] = []
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"{url}/api/v1/stream?after=0", headers=headers) as answer,
    ):
        position = 0
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                position = int(line[4:])
            elif line.startswith("data: "):
                found.append((position, json.loads(line[6:])["id"]))
                if len(found) == count:
                    break
    return found


async def test_stream_is_resumed_without_gap_or_double_while_events_come(start: Callable[..., Any]) -> None:
    server = await start()
    total = 600

    async def produce() -> None:
        for place in range(0, total, 10):
            events = [Event(id=str(number), source="/s", type="t") for number in range(place, place + 10)]
            await server.store.log.append(Append(events=events))

    producing = asyncio.ensure_future(produce())
    seen: list[tuple[int, str]] = []
    while len(seen) < total:
        headers = {"last-event-id": str(seen[-1][0])} if seen else {}
        seen += await read_stream(server.url, count=min(90, total - len(seen)), headers=headers)
    await producing

    assert seen == [(number + 1, str(number)) for number in range(total)]


async def test_stream_ends_when_the_service_drains(start: Callable[..., Any]) -> None:
    server = await start()
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"{server.url}/api/v1/stream") as answer,
    ):
        lines = answer.aiter_lines()
        first = await anext(lines)

        server.parts.stopping.set()
        rest = [line async for line in lines]

    assert first.startswith("retry: ")
    assert rest == [""]


async def test_stream_of_a_client_that_left_is_closed(start: Callable[..., Any]) -> None:
    server = await start()
    clients = server.parts.metrics.stream_clients

    await server.store.log.append(Append(events=[Event(id="1", source="/s", type="t")]))
    await read_stream(server.url, count=1, headers={})
    async with httpx.AsyncClient(base_url=server.url) as client:
        # The server learns of the closed socket within a few turns of the loop.
        for _ in range(200):
            text = (await client.get("/metrics")).text
            if "tidemill_stream_clients 0.0" in text:
                break

    assert "tidemill_stream_clients 0.0" in text
    assert clients is server.parts.metrics.stream_clients
