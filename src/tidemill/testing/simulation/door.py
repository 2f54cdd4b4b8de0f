"""How the world reaches the service: whichever process is up, and nobody while none is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

from tidemill.errors import StorageError
from tidemill.storage.contract import Store
from tidemill.testing.simulation.clock import SimulatedClock
from tidemill.testing.simulation.life import Life
from tidemill.testing.simulation.loop import SimulatedLoop
from tidemill.testing.simulation.process import Process

__all__ = ["Door"]

#: Seconds between two attempts to be heard.
_AGAIN_SECONDS = 1.5


class Door:
    """The service as it can be reached."""

    def __init__(self, loop: SimulatedLoop, clock: SimulatedClock) -> None:
        self.loop, self.clock = loop, clock
        #: None while the service is down.
        self.life: Life | None = None

    def within(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let `work` be a task of the process."""
        return self.loop.create_task(work, context=process.context.copy())

    async def inside(
        self, life: Life, work: Callable[[], Awaitable[None]], *, limit: float | None = None
    ) -> bool:
        """Let `work` be done in the process; True when it was, False when the process died or time was over."""
        answered = self.loop.create_future()
        life.process.on_death.append(partial(_settle, answered, False))

        async def do() -> None:
            try:
                await work()
            finally:
                if not (answered.done() or life.process.is_dead):
                    answered.set_result(True)

        self.within(life.process, do())
        await asyncio.wait([answered], timeout=limit)
        return answered.done() and bool(answered.result())

    async def post(self, body: bytes) -> tuple[int, dict[str, Any]] | None:
        """One request; None when nobody answered."""
        life = self.life
        if life is None or not life.is_ready:
            return None
        answered: asyncio.Future[tuple[int, dict[str, Any]] | None] = self.loop.create_future()
        status = 0
        life.process.on_death.append(partial(_settle, answered, None))

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            if life.process.is_dead:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not answered.done():
                answered.set_result((status, orjson.loads(message["body"])))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/events",
            "headers": [
                (b"content-type", b"application/cloudevents+json"),
                (b"content-length", b"%d" % len(body)),
            ],
        }
        self.within(life.process, life.ingest(scope, receive, send))
        return await answered

    async def ask(self, asking: Any) -> None:
        """Ask the API until it has answered."""
        while True:
            life = self.life
            if life is not None and life.is_ready:
                done = False

                async def ask(store: Store = life.store) -> None:
                    nonlocal done
                    with suppress(StorageError):
                        await asking(store)
                        done = True

                if await self.inside(life, ask) and done:
                    return
            await self.clock.sleep(_AGAIN_SECONDS)


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
