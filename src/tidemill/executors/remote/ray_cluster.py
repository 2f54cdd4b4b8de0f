"""Ray as the engine: one remote call per attempt, or many small attempts per call of a warm actor.

Ray itself lives in a process of its own (`ray_driver`), which serves this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from tidemill.dag.resources import Resources
from tidemill.errors import SettingsError
from tidemill.executors.remote.capacity import Machine
from tidemill.executors.remote.cluster import Call, Submitted
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.ray_frames import Kind, join
from tidemill.executors.remote.ray_link import RayDriver, RayLink, require_ray

__all__ = ["RayCluster"]

#: Longest time for a port to answer, for the cluster to let us in, and for it to say what it has, in seconds.
_REACH_SECONDS = 5.0
_JOIN_SECONDS = 60.0
_LOOK_SECONDS = 20.0


class RayCluster:
    """See `Cluster`."""

    name = "ray"
    sets_environment = False
    stop_seconds = 5.0

    def __init__(self, address: str, *, pack_actors: int, driver: str | None = None) -> None:
        """`address` as `ray.init` takes it; `pack_actors` 0 makes every attempt a call of its own.

        `driver` is the socket of a driver that somebody else keeps, in place of one of our own.
        """
        self.lanes = pack_actors
        self._address = address
        self._shared = driver
        self._driver = RayDriver()
        self._lost: Callable[[], None] = lambda: None
        self._link = RayLink(self._notice)
        #: What precedes requests: options of the call, by request and label.
        self._heads: dict[tuple[Resources, str, bool], bytes] = {}

    async def connect(self) -> None:
        require_ray()
        await self.reach()
        path = self._shared
        if path is None:
            await self._driver.start(self._address, seconds=_JOIN_SECONDS)
            path = self._driver.path
        self._link = link = RayLink(self._notice)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, path)

    def watch(self, lost: Callable[[], None]) -> None:
        self._lost = lost

    async def rejoin(self) -> None:
        await self._link.close()
        await self._driver.end(at_once=True)
        self._driver = RayDriver()
        await self.connect()

    async def machines(self) -> Sequence[Machine]:
        _, answer = self._link.ask(Kind.MACHINES)
        try:
            body = await asyncio.wait_for(answer, _LOOK_SECONDS)
        except TimeoutError as error:
            raise ClusterFailure("ClusterUnreachable", "Ray does not answer") from error
        return [Machine(**facts) for facts in orjson.loads(body)]

    def submit(self, call: Call, machines: Sequence[Machine]) -> Submitted:
        body = join(self._head(call), call.request)
        return _Asked(self._link, *self._link.ask(Kind.CALL, body, started=call.on_start))

    def submit_pack(self, request: bytes, lane: int) -> Submitted:
        return _Asked(self._link, *self._link.ask(Kind.PACK, join(b"%d" % lane, request)))

    async def close(self) -> None:
        await self._link.close()
        await self._driver.end()

    async def reach(self) -> None:
        # Ray itself takes minutes to say that nobody is there.
        place = self._address.removeprefix("ray://")
        host, _, port = place.rpartition(":")
        if place in ("auto", "local") or not host or not port.isdigit():
            if place == "auto":
                return
            raise SettingsError(f"ray_address: {self._address!r} must be HOST:PORT, ray://HOST:PORT or auto")
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(host.strip("[]"), int(port)), _REACH_SECONDS
            )
        except (OSError, TimeoutError) as error:
            raise SettingsError(f"ray_address: nothing answers at {self._address}") from error
        writer.close()

    def _notice(self) -> None:
        self._lost()

    def _head(self, call: Call) -> bytes:
        key = (call.resources, call.label, call.on_start is not None)
        head = self._heads.get(key)
        if head is None:
            facts = {"options": _options(call.resources) | {"name": call.label}, "timed": key[2]}
            head = self._heads[key] = orjson.dumps(facts)
        return head


class _Asked:
    """A call under way in the driver."""

    def __init__(self, link: RayLink, call: int, answer: asyncio.Future[bytes]) -> None:
        self._link = link
        self._call = call
        self._answer = answer

    def reply(self) -> Awaitable[bytes]:
        return self._answer

    def stop(self) -> None:
        self._link.stop(self._call)


def _options(request: Resources) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": 1 if request.cpu is None else request.cpu}
    if request.memory is not None:
        options["memory"] = request.memory
    if request.gpu:
        options["num_gpus"] = request.gpu
    if request.custom:
        options["resources"] = dict(request.custom)
    environment: dict[str, Any] = {}
    if request.env_vars:
        environment["env_vars"] = dict(request.env_vars)
    if request.pip:
        environment["pip"] = list(request.pip)
    if environment:
        options["runtime_env"] = environment
    return options
