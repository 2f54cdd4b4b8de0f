"""How the driver learns that a worker has begun an attempt: an actor that workers tell, and that the driver awaits.

Only attempts with a timeout are told of, which begins then. Where the actor is lost, they are taken to have begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["StartActor", "Starts"]


class StartActor:
    """What Ray makes an actor of."""

    def __init__(self) -> None:
        self._told: list[int] = []
        self._arrived = asyncio.Event()

    async def tell(self, number: int) -> None:
        """An attempt has begun."""
        self._told.append(number)
        self._arrived.set()

    async def next(self) -> list[int]:
        """Those that have begun since the last answer, one or more."""
        await self._arrived.wait()
        self._arrived.clear()
        told, self._told = self._told, []
        return told


class Starts:
    """The attempts whose beginning is awaited."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._actor: Any = None
        self._next = 0
        self._waiting: dict[int, Callable[[], None]] = {}
        self._listening: asyncio.Task[None] | None = None

    def expect(self, told: Callable[[], None]) -> tuple[Any, int]:
        """The actor, and the number that the worker tells it."""
        if self._actor is None:
            self._actor = self._ray.remote(StartActor).options(num_cpus=0, max_restarts=0).remote()
            self._listening = asyncio.get_running_loop().create_task(self._listen(self._actor))
        self._next += 1
        self._waiting[self._next] = told
        return self._actor, self._next

    def forget(self, number: int) -> None:
        """The attempt has ended."""
        self._waiting.pop(number, None)

    async def _listen(self, actor: Any) -> None:
        try:
            while True:
                for number in await actor.next.remote():
                    told = self._waiting.pop(number, None)
                    if told is not None:
                        told()
        except Exception:  # its machine is gone: no attempt may run without a limit for that
            self._actor = None
            waiting, self._waiting = self._waiting, {}
            for told in waiting.values():
                told()
