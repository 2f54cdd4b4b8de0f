"""A reader of the event stream that comes back with its last id whenever it was cut off."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

import httpx
from tests.acceptance.notes import Notes

__all__ = ["StreamReader"]

_PAUSE_SECONDS = 0.05


class StreamReader:
    """Reads the whole log from its beginning."""

    def __init__(self, url: Callable[[], str], notes: Notes) -> None:
        self._url = url
        self._notes = notes
        self.last = 0
        self.connections = 0

    async def run(self) -> None:
        """Read until cancelled."""
        timeout = httpx.Timeout(5.0, read=None)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await self._read(client)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _read(self, client: httpx.AsyncClient) -> None:
        headers = {"last-event-id": str(self.last)} if self.last else {}
        async with client.stream("GET", self._url() + "/api/v1/stream?after=0", headers=headers) as answer:
            assert answer.status_code == 200, answer.status_code
            self.connections += 1
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                if "id" in fields:
                    self._note(fields)
                fields = {}

    def _note(self, fields: dict[str, str]) -> None:
        event = json.loads(fields["data"])
        self._notes.write(
            position=int(fields["id"]), type=fields["event"], source=event.get("source"), id=event.get("id")
        )
        self.last = int(fields["id"])
