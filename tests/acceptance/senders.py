"""Everything that comes from outside: HTTP in every mode, files, Kafka records, and somebody who cancels.

Each sender repeats what was not acknowledged, with the same identity, until it is; it never takes a lost connection
for a yes or a no. What it tried and what was acknowledged goes into the notes.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from aiokafka import AIOKafkaProducer
from tests.acceptance.notes import Notes

__all__ = ["Client", "Files", "Http", "Jobs", "Records", "cancel_run", "find_run", "post_batch", "post_event"]

_PAUSE_SECONDS = 0.05
_BUSY = frozenset({429, 503, 507})


class Client:
    """Asks until there is an answer."""

    def __init__(self, url: Callable[[], str], *, keep_alive: bool, answer_seconds: float = 10.0) -> None:
        """`url` is asked before each try; who got no answer within `answer_seconds` tries again."""
        self._url = url
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        self._client = httpx.AsyncClient(timeout=answer_seconds, trust_env=False, limits=limits)
        #: (status, code) of answers that asked to come again.
        self.busy: list[tuple[int, str]] = []
        #: Connections that broke in the middle of a request: no answer, or half of one.
        self.cut: list[str] = []

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The first answer that says yes or no."""
        while True:
            try:
                answer = await self._client.request(method, self._url() + path, **request)
            except httpx.TransportError as error:
                if not isinstance(error, httpx.ConnectError):
                    self.cut.append(repr(error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if answer.status_code not in _BUSY:
                return answer
            assert int(answer.headers["retry-after"]) >= 1, "busy without saying when to come back"
            self.busy.append((answer.status_code, answer.json()["code"]))
            await asyncio.sleep(_PAUSE_SECONDS * 2)

    async def close(self) -> None:
        await self._client.aclose()


async def post_event(client: Client, notes: Notes, *, kind: str, name: str) -> int:
    """Post one event without data in structured mode; its position."""
    event = {"specversion": "1.0", "id": name, "source": "/acceptance/events", "type": kind}
    notes.write(what="tried", source=event["source"], id=name)
    headers = {"content-type": "application/cloudevents+json"}
    answer = await client.ask("POST", "/events", content=json.dumps(event), headers=headers)
    assert answer.status_code == 202, answer.text
    notes.write(what="ack", source=event["source"], id=name, data=None, **answer.json())
    position: int = answer.json()["position"]
    return position


async def post_batch(client: Client, notes: Notes, events: Sequence[Mapping[str, Any]]) -> None:
    """Post new events in one request, so that they have one time of reception."""
    for event in events:
        notes.write(what="tried", source=event["source"], id=event["id"])
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer = await client.ask("POST", "/events", content=json.dumps(events), headers=headers)
    assert answer.status_code == 202, answer.text
    for event, told in zip(events, answer.json()["events"], strict=True):
        notes.write(what="ack", source=event["source"], id=event["id"], data=event["data"], **told)


async def find_run(client: Client, position: int) -> str:
    """The run that routing makes of the event at `position`."""
    while True:
        answer = await client.ask("GET", "/api/v1/runs", params={"position": position})
        assert answer.status_code == 200, answer.text
        for run in answer.json()["items"]:
            return str(run["id"])
        await asyncio.sleep(_PAUSE_SECONDS)


async def cancel_run(client: Client, notes: Notes, run: str) -> None:
    """Ask for the end of a run until that is acknowledged."""
    answer = await client.ask("POST", f"/api/v1/runs/{run}/cancel")
    # 409: an earlier request, whose answer was lost, has been carried out.
    assert answer.status_code in (202, 409), answer.text
    notes.write(what="cancel", run=run)


class Http:
    """Posts events in one mode: structured, binary, batch, webhook or form; or changes, which go through admission."""

    def __init__(self, mode: str, client: Client, notes: Notes, *, seed: int, pause: float) -> None:
        self._mode = mode
        self._client = client
        self._notes = notes
        self._random = random.Random(f"{mode}{seed}")
        self._pause = pause
        self._recent: list[dict[str, Any]] = []
        self.sent = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop; what was begun is finished."""
        for number in itertools.count(1):
            if stop.is_set():
                return
            if self._mode == "batch":
                await self._send_batch(number)
            else:
                await self._send_one(self._event(f"{number}"))
            await asyncio.sleep(self._pause)

    def _event(self, name: str) -> dict[str, Any]:
        self.sent += 1
        is_payment = self._mode in ("webhook", "form")
        number = self._random.randrange(1, 200)
        if self._mode == "change":
            data = {"n": number, "k": number % 5, "half": number // 5 % 2}
            return {
                "specversion": "1.0",
                "id": f"change-{name}",
                "source": "/acceptance/change",
                "type": "com.example.change",
                "data": data,
            }
        return {
            "specversion": "1.0",
            "id": f"{self._mode}-{name}",
            "source": "/acceptance/payments" if is_payment else f"/acceptance/{self._mode}",
            "type": "com.example.payment" if is_payment else "com.example.order",
            "data": {"n": str(number) if self._mode == "form" else number},
        }

    async def _send_one(self, event: dict[str, Any]) -> None:
        self._notes.write(what="tried", source=event["source"], id=event["id"])
        path, request = self._request(event)
        for repeated in itertools.count():
            answer = await self._client.ask("POST", path, **request)
            assert answer.status_code == 202, f"{event} was refused: {answer.text}"
            self._acknowledge([event], [answer.json()])
            assert not repeated or answer.json()["duplicate"], f"{event} was taken twice: {answer.text}"
            if self._random.random() < 0.85:
                return

    async def _send_batch(self, number: int) -> None:
        events = [self._event(f"{number}-{index}") for index in range(self._random.randrange(1, 12))]
        for event in events:
            self._notes.write(what="tried", source=event["source"], id=event["id"])
        events += self._random.sample(self._recent, min(2, len(self._recent)))
        content = json.dumps(events)
        headers = {"content-type": "application/cloudevents-batch+json"}
        answer = await self._client.ask("POST", "/events", content=content, headers=headers)
        assert answer.status_code == 202, f"a batch was refused: {answer.text}"
        self._acknowledge(events, answer.json()["events"])
        self._recent = events[-5:]

    def _acknowledge(self, events: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> None:
        for event, answer in zip(events, answers, strict=True):
            self._notes.write(
                what="ack",
                source=event["source"],
                id=event["id"],
                position=answer["position"],
                duplicate=answer["duplicate"],
                data=event["data"],
            )

    def _request(self, event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        body = {"id": event["id"], "n": event["data"]["n"]}
        match self._mode:
            case "structured" | "change":
                headers = {"content-type": "application/cloudevents+json"}
                return "/events", {"content": json.dumps(event), "headers": headers}
            case "binary":
                headers = {f"ce-{name}": event[name] for name in ("specversion", "id", "source", "type")}
                headers["content-type"] = "application/json"
                return "/events", {"content": json.dumps(event["data"]), "headers": headers}
            case "webhook":
                return "/webhooks/payments", {"json": body}
            case "form":
                headers = {"content-type": "application/x-www-form-urlencoded"}
                return "/webhooks/payments", {"content": urlencode(body), "headers": headers}
        raise AssertionError(self._mode)


class Jobs:
    """Starts jobs that would never end, and cancels each."""

    def __init__(self, client: Client, notes: Notes, *, pause: float) -> None:
        self._client = client
        self._notes = notes
        self._pause = pause

    async def run(self, stop: asyncio.Event) -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            await self._start_and_cancel(f"job-{number}")
            await asyncio.sleep(self._pause)

    async def _start_and_cancel(self, name: str) -> None:
        position = await post_event(self._client, self._notes, kind="com.example.job", name=name)
        await cancel_run(self._client, self._notes, await find_run(self._client, position))


class Files:
    """Lands files, by turns renamed into place and written slowly, whether or not somebody watches."""

    def __init__(self, folder: Path, notes: Notes, *, pause: float, writers: int = 3) -> None:
        self._folder = folder
        self._notes = notes
        self._pause = pause
        self._writers = writers
        self._numbers: Iterator[int] = itertools.count(1)
        self.landed = 0

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for writer in range(self._writers):
                tasks.create_task(self._write(writer, stop))

    async def _write(self, writer: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = next(self._numbers)
            path = f"{'daily/' if number % 3 else ''}file-{number}.csv"
            content = f"{number},{writer}\n".encode() * (1 + number % 50)
            if number % 2:
                await self._write_slowly(self._folder / path, content)
            else:
                self._rename_into_place(self._folder / path, content)
            digest = hashlib.sha256(content).hexdigest()
            self._notes.write(what="file", path=path, digest=digest, size=len(content))
            self.landed += 1
            await asyncio.sleep(self._pause)

    async def _write_slowly(self, path: Path, content: bytes) -> None:
        half = len(content) // 2
        with path.open("wb", buffering=0) as file:
            file.write(content[:half])
            await asyncio.sleep(4 * self._pause)
            file.write(content[half:])

    def _rename_into_place(self, path: Path, content: bytes) -> None:
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(content)
        unfinished.rename(path)


class Records:
    """Produces Kafka records: plain ones, CloudEvents in both modes, and some that nobody can read."""

    def __init__(self, bootstrap_servers: str, topic: str, notes: Notes, *, pause: float) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._notes = notes
        self._pause = pause
        self.produced = 0

    async def run(self, stop: asyncio.Event) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap_servers, enable_idempotence=True)
        async with producer:
            for number in itertools.count(1):
                if stop.is_set():
                    return
                await self._produce(producer, number)
                await asyncio.sleep(self._pause)

    async def _produce(self, producer: Any, number: int) -> None:
        identity = {"id": f"record-{number}", "source": "/acceptance/kafka"}
        event = {"specversion": "1.0", "type": "com.example.reading", **identity, "data": {"n": number}}
        form, value, headers = "plain", json.dumps({"n": number}), []
        match number % 10:
            case 3:
                form, value = "broken", "no json"
            case 6:
                form, value = "event", json.dumps(event)
                headers = [("content-type", b"application/cloudevents+json")]
            case 9:
                form, headers = "event", [("content-type", b"application/json")]
                attributes = ("specversion", "type", "id", "source")
                headers += [(f"ce_{name}", str(event[name]).encode()) for name in attributes]
        placed = await producer.send_and_wait(
            self._topic, value.encode(), partition=number % 3, headers=headers
        )
        self._notes.write(
            what="record",
            topic=self._topic,
            partition=placed.partition,
            offset=placed.offset,
            form=form,
            **identity,
        )
        self.produced += 1
