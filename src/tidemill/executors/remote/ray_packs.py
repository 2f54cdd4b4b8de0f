"""Many small attempts in one call of a warm actor: what is waiting when an actor is free goes out together.

Only attempts that may be made twice come here: when an actor dies, all that it held have failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any

from tidemill.executors.remote.cluster import Call
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.ray_failures import explain
from tidemill.executors.remote.worker import perform_pack

__all__ = ["Packs"]

#: Calls that one actor has at once: the next one is there when it ends the first.
_DEPTH = 2


class PackActor:
    """What Ray makes an actor of."""

    def perform(self, requests: Sequence[bytes]) -> list[bytes]:
        """Replies in the order of the requests."""
        return perform_pack(requests)


class Packs:
    """A few actors, and the attempts that wait for them."""

    def __init__(self, ray: Any, *, actors: int, size: int) -> None:
        self._ray = ray
        self._count = actors
        self._size = size
        self._waiting: deque[_Packed] = deque()
        #: Calls under way, by actor.
        self._actors: dict[Any, int] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._planned = False
        self._loop = asyncio.get_running_loop()
        self._class = ray.remote(PackActor)

    def submit(self, call: Call) -> _Packed:
        """An attempt that goes out with others."""
        packed = _Packed(call.request, self._loop.create_future())
        self._waiting.append(packed)
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._send)
        return packed

    def close(self) -> None:
        """End the actors."""
        for call in self._calls:
            call.cancel()
        for actor in self._actors:
            self._ray.kill(actor, no_restart=True)
        self._actors.clear()

    def _send(self) -> None:
        self._planned = False
        while self._waiting:
            actor = self._free_actor()
            if actor is None:
                return
            # Shared out, so that one actor does not sit idle beside a full pack.
            share = -(-len(self._waiting) // self._count)
            pack: list[_Packed] = []
            while self._waiting and len(pack) < min(self._size, share):
                packed = self._waiting.popleft()
                if not packed.answer.done():
                    pack.append(packed)
            if pack:
                self._actors[actor] += 1
                call = self._loop.create_task(self._call(actor, pack))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)

    def _free_actor(self) -> Any:
        idle = min(self._actors, key=self._actors.__getitem__, default=None)
        if idle is not None and (self._actors[idle] == 0 or len(self._actors) >= self._count):
            return idle if self._actors[idle] < _DEPTH else None
        made = self._class.options(
            num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        actor = made.remote()
        self._actors[actor] = 0
        return actor

    async def _call(self, actor: Any, pack: list[_Packed]) -> None:
        try:
            replies = await actor.perform.remote([packed.request for packed in pack])
        except Exception as error:
            self._actors.pop(actor, None)
            failed = explain(error)
            for packed in pack:
                packed.settle(ClusterFailure(failed.kind, str(failed), permanent=failed.permanent))
            self._ray.kill(actor, no_restart=True)
        else:
            if actor in self._actors:
                self._actors[actor] -= 1
            for packed, reply in zip(pack, replies, strict=True):
                packed.settle(reply)
        self._send()


class _Packed:
    """One attempt of a pack."""

    def __init__(self, request: bytes, answer: asyncio.Future[bytes]) -> None:
        self.request = request
        self.answer = answer

    def reply(self) -> Awaitable[bytes]:
        return self.answer

    def stop(self) -> None:
        # What an actor has begun goes on; its answer is ignored.
        self.answer.cancel()

    def settle(self, reply: bytes | ClusterFailure) -> None:
        """The call has ended."""
        if self.answer.done():
            return
        if isinstance(reply, bytes):
            self.answer.set_result(reply)
        else:
            self.answer.set_exception(reply)
