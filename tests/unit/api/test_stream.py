"""The event stream: what a client that reads, leaves and comes back has seen in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tidemill.api.stream import follow
from tidemill.events.event import Event
from tidemill.storage.contract import Append, Store


def everything(_event: Event) -> bool:
    return True


async def frames(chunks: AsyncGenerator[bytes, None], count: int) -> list[dict[str, str]]:
    """The next `count` frames with fields."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        found += parse(await anext(chunks))
    return found


def parse(chunk: bytes) -> list[dict[str, str]]:
    blocks = chunk.decode().split("\n\n")
    fields = [dict(line.split(": ", 1) for line in block.split("\n") if line) for block in blocks if block]
    return [each for each in fields if "id" in each]


async def append(store: Store, *ids: str, type: str = "t") -> None:  # noqa: A002
    await store.log.append(Append(events=[Event(id=each, source="/s", type=type, data=each) for each in ids]))


async def test_stream_begins_after_a_position_and_goes_on_with_what_comes(store: Store) -> None:
    await append(store, "a", "b", "c")
    chunks = follow(store.log, after=1, matches=everything)

    before = await frames(chunks, 2)
    await append(store, "d")
    after = await frames(chunks, 1)

    assert [frame["id"] for frame in before + after] == ["2", "3", "4"]
    assert before[0]["event"] == "t"
    assert json.loads(before[0]["data"]) == {
        "specversion": "1.0",
        "id": "b",
        "source": "/s",
        "type": "t",
        "data": "b",
    }
    await chunks.aclose()


async def test_stream_has_no_gap_and_no_double_over_reconnects_while_events_come(store: Store) -> None:
    total, seen = 1200, []

    async def produce() -> None:
        for start in range(0, total, 30):
            await append(store, *(str(number) for number in range(start, start + 30)))

    producing = asyncio.ensure_future(produce())
    after = 0
    while len(seen) < total:
        chunks = follow(store.log, after=after, matches=everything)
        for frame in await frames(chunks, min(70, total - len(seen))):
            seen.append(json.loads(frame["data"])["id"])
            after = int(frame["id"])
        await chunks.aclose()
    await producing

    assert seen == [str(number) for number in range(total)]


async def test_stream_says_when_it_is_alive(store: Store) -> None:
    chunks = follow(store.log, after=0, matches=everything, ping_seconds=0.001)

    said = [await anext(chunks) for _ in range(3)]
    await append(store, "a")
    found = await frames(chunks, 1)

    assert said[1:] == [b": ping\n\n", b": ping\n\n"]
    assert found[0]["id"] == "1"
    await chunks.aclose()


async def test_stream_announces_a_client_that_is_ahead_of_the_log(store: Store) -> None:
    await append(store, "a")
    chunks = follow(store.log, after=900, matches=everything)

    (gap,) = await frames(chunks, 1)
    await append(store, "b")
    (event,) = await frames(chunks, 1)

    assert (gap["event"], gap["id"]) == ("gap", "1")
    assert json.loads(gap["data"]) == {"after": 900, "until": 1}
    assert event["id"] == "2"
    await chunks.aclose()


async def test_stream_announces_events_that_are_gone(store: Store) -> None:
    await append(store, "a", "b", "c")
    log = store.log

    class Cut:
        """A log whose first two events were removed."""

        head = 3

        async def read(self, after: int, limit: int) -> Any:
            return await log.read(max(after, 2), limit)

    chunks = follow(Cut(), after=0, matches=everything)  # type: ignore[arg-type]

    gap, event = await frames(chunks, 2)

    assert json.loads(gap["data"]) == {"after": 0, "until": 2}
    assert event["id"] == "3"
    await chunks.aclose()


async def test_stream_sends_only_what_matches(store: Store) -> None:
    chunks = follow(store.log, after=0, matches=lambda event: event.type == "wanted")
    await append(store, "a", "b")
    await append(store, "c", type="wanted")
    await append(store, "d")
    await append(store, "e", type="wanted")

    found = await frames(chunks, 2)

    assert [frame["id"] for frame in found] == ["3", "5"]
    await chunks.aclose()


class Connection:
    """One client of the stream route, at the ASGI seam."""

    def __init__(self, surface: Any, query: str = "", headers: Any = ()) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.headers: dict[bytes, bytes] = {}
        self.frames: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.body = b""
        self._left = asyncio.Event()
        self._asked = False
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/stream",
            "raw_path": b"/api/v1/stream",
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "headers": [(b"host", b"localhost"), *headers],
        }
        self.task = asyncio.ensure_future(surface.app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.headers = dict(message["headers"])
            self.status.set_result(message["status"])
            return
        self.body += message.get("body", b"")
        for frame in parse(message.get("body", b"")):
            self.frames.put_nowait(frame)

    async def leave(self) -> None:
        self._left.set()
        await self.task


async def test_stream_route_begins_now_when_nothing_is_said(surface: Any) -> None:
    await surface.append("a", "b")

    connection = Connection(surface)
    assert await connection.status == 200
    await surface.append("c")
    frame = await connection.frames.get()

    assert connection.headers[b"content-type"].startswith(b"text/event-stream")
    assert connection.headers[b"cache-control"] == b"no-store"
    assert b"content-length" not in connection.headers
    assert (frame["id"], frame["event"]) == ("3", "order.placed")
    await connection.leave()


async def test_stream_route_prefers_where_the_client_was_to_where_it_began(surface: Any) -> None:
    await surface.append("a", "b", "c")

    connection = Connection(surface, "after=0", [(b"last-event-id", b"2")])

    assert (await connection.frames.get())["id"] == "3"
    await connection.leave()


async def test_stream_route_filters_by_types_and_filters(surface: Any) -> None:
    await surface.append("a", type="one")
    await surface.append("b", type="two")
    await surface.append("c", type="two", source="/other")
    await surface.append("d", type="three")

    query = 'after=0&type=one&type=two&filters=[{"exact":{"source":"/shop"}}]'
    connection = Connection(surface, query)
    found = [(await connection.frames.get())["id"] for _ in range(2)]
    await connection.leave()

    assert found == ["1", "2"]
    assert connection.frames.empty()


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("after=-1", [], 422),
        ("after=x", [], 422),
        (f"after={2**63}", [], 422),
        ("", [(b"last-event-id", b"x")], 422),
        ("filters={", [], 400),
        ('filters=[{"exact":5}]', [], 422),
        ('filters=[{"unknown":{}}]', [], 422),
        ("filters=" + "[" * 17_000, [], 422),
    ],
)
async def test_stream_route_refuses_what_it_does_not_understand(
    surface: Any, query: str, headers: Any, status: int
) -> None:
    connection = Connection(surface, query, headers)
    await connection.task

    assert await connection.status == status
    assert connection.headers[b"content-type"] == b"application/problem+json"


async def test_stream_route_ends_when_the_service_drains(surface: Any) -> None:
    connection = Connection(surface, "after=0")
    await surface.append("a")
    await connection.frames.get()

    surface.parts.stopping.set()
    await connection.task

    assert "tidemill_stream_clients 0.0" in (await surface.client.get("/metrics")).text


async def test_stream_route_counts_its_clients(surface: Any) -> None:
    connection = Connection(surface)
    await connection.status

    while_open = (await surface.client.get("/metrics")).text
    await connection.leave()
    after = (await surface.client.get("/metrics")).text

    assert "tidemill_stream_clients 1.0" in while_open
    assert "tidemill_stream_clients 0.0" in after
