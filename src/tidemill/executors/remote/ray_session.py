"""One service's calls, as its driver makes them. Runs in the driver's process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, cast

import orjson

from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.ray_failures import explain
from tidemill.executors.remote.ray_frames import Frames, Kind, Outgoing, split
from tidemill.executors.remote.ray_starts import Starts
from tidemill.executors.remote.worker import perform, perform_pack

__all__ = ["PackActor", "Session", "perform_on_ray"]

#: Prepared functions kept, by options.
_PREPARED = 4096


def perform_on_ray(request: bytes, starts: Any = None, number: int = 0) -> bytes:
    """One attempt; `starts` is told when it begins."""
    return perform(request, None if starts is None else lambda: starts.tell.remote(number))


class PackActor:
    """What Ray makes an actor of."""

    def perform(self, request: bytes) -> bytes:
        """Many attempts in one request, their replies in one."""
        return perform_pack(request)


class Session(asyncio.Protocol):
    """See `ray_frames`. What is under way when the connection ends is ended."""

    def __init__(self, ray: Any, starts: Starts, sessions: set[Session]) -> None:
        self._ray = ray
        self._starts = starts
        self._sessions = sessions
        self._frames = Frames()
        self._function = ray.remote(max_retries=0)(perform_on_ray)
        self._actor_class = ray.remote(PackActor)
        self._prepared: dict[bytes, Any] = {}
        self._actors: dict[bytes, Any] = {}
        self._refs: dict[int, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._outgoing: Outgoing

    @property
    def is_waiting(self) -> bool:
        """True while something is asked of the cluster."""
        return bool(self._tasks)

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._outgoing = Outgoing(cast(asyncio.WriteTransport, transport))
        self._sessions.add(self)

    def data_received(self, data: bytes) -> None:
        for kind, call, body in self._frames.feed(data):
            self._obey(kind, call, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end()

    def end(self) -> None:
        """End what is under way."""
        self._sessions.discard(self)
        for task in self._tasks:
            task.cancel()
        for call in list(self._refs):
            self._stop(call)
        for actor in self._actors.values():
            with contextlib.suppress(Exception):
                self._ray.kill(actor, no_restart=True)
        self._actors.clear()

    # ── calls ──

    def _obey(self, kind: Kind, call: int, body: bytes) -> None:
        match kind:
            case Kind.CALL:
                self._own(self._answer(call, self._call(call, body)))
            case Kind.PACK:
                self._own(self._answer(call, self._pack(call, body)))
            case Kind.MACHINES:
                self._own(self._answer(call, self._machines()))
            case Kind.STOP:
                self._stop(call)
            case Kind.REPLY | Kind.FAILED | Kind.STARTED:
                raise ValueError(f"{kind.name} does not go to a driver")

    def _own(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: int, work: Any) -> None:
        try:
            reply = await work
        except Exception as error:
            failed = explain(error)
            facts = {"kind": failed.kind, "message": str(failed), "permanent": failed.permanent}
            self._outgoing.send(Kind.FAILED, call, orjson.dumps(facts))
        else:
            self._outgoing.send(Kind.REPLY, call, reply)
        finally:
            self._refs.pop(call, None)

    async def _call(self, call: int, body: bytes) -> bytes:
        head, request = split(body)
        function, is_timed = self._prepare(head)
        if not is_timed:
            ref = self._refs[call] = function.remote(request)
            reply: bytes = await ref
            return reply
        actor, number = self._starts.expect(lambda: self._outgoing.send(Kind.STARTED, call))
        try:
            ref = self._refs[call] = function.remote(request, actor, number)
            reply = await ref
        finally:
            self._starts.forget(number)
        return reply

    def _prepare(self, head: bytes) -> tuple[Any, bool]:
        prepared = self._prepared.get(head)
        if prepared is None:
            if len(self._prepared) >= _PREPARED:
                self._prepared.clear()
            facts: Mapping[str, Any] = orjson.loads(head)
            prepared = (self._function.options(max_retries=0, **facts["options"]), facts["timed"])
            self._prepared[head] = prepared
        return prepared

    async def _pack(self, call: int, body: bytes) -> bytes:
        lane, request = split(body)
        actor = self._actors.get(lane)
        if actor is None:
            actor = self._actors[lane] = self._actor_class.options(
                num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
            ).remote()
        try:
            reply: bytes = await actor.perform.remote(request)
        except Exception:
            if self._actors.get(lane) is actor:
                del self._actors[lane]
                self._ray.kill(actor, no_restart=True)
            raise
        return reply

    async def _machines(self) -> bytes:
        try:
            nodes = await asyncio.to_thread(self._ray.nodes)
        except Exception as error:
            raise ClusterFailure("ClusterUnreachable", f"Ray does not answer: {error}") from error
        return orjson.dumps([_machine(node) for node in nodes if node["Alive"]])

    def _stop(self, call: int) -> None:
        ref = self._refs.pop(call, None)
        if ref is not None:
            with contextlib.suppress(Exception):
                # The worker's process is killed: nothing less ends a function that does not listen.
                self._ray.cancel(ref, force=True)


def _machine(node: Mapping[str, Any]) -> dict[str, Any]:
    has = dict(node["Resources"])
    return {
        "name": node["NodeManagerHostname"] or node["NodeManagerAddress"],
        "cpu": has.pop("CPU", 0.0),
        "memory": has.pop("memory", 0.0),
        "gpu": has.pop("GPU", 0.0),
        "custom": {
            name: amount
            for name, amount in has.items()
            if not name.startswith("node:") and name != "object_store_memory"
        },
    }
