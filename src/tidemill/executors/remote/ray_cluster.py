"""Ray as the engine: one remote call per attempt, or many small attempts per call of a warm actor.

Ray is imported here only, when a DAG asks for it. The connection belongs to the process: where somebody else has opened
one already, it is used and left open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from tidemill.dag.resources import Resources
from tidemill.errors import SettingsError
from tidemill.executors.remote.capacity import Machine
from tidemill.executors.remote.cluster import Call, Submitted
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.ray_failures import explain
from tidemill.executors.remote.ray_packs import Packs
from tidemill.executors.remote.worker import perform
from tidemill.executors.threads import Threads

__all__ = ["RayCluster"]

NAMESPACE = "tidemill"
#: Longest time for a port to answer, and for the cluster to let us in, in seconds.
_REACH_SECONDS = 5.0
_JOIN_SECONDS = 60.0
#: Longest time to let go of it.
_LEAVE_SECONDS = 10.0
#: Calls into a cluster that is gone may never return, and keep their thread.
_THREADS = 8
#: Prepared calls kept, by request and label.
_PREPARED = 4096


class RayCluster:
    """See `Cluster`."""

    name = "ray"
    sets_environment = False
    stop_seconds = 5.0

    def __init__(self, address: str, *, pack_actors: int, pack_size: int) -> None:
        """`address` as `ray.init` takes it; `pack_actors` 0 makes every attempt a call of its own."""
        self._address = address
        self._pack_actors = pack_actors
        self._pack_size = pack_size
        self._packs: Packs | None = None
        #: For calls into Ray that wait for the network.
        self._threads: Threads[Any] = Threads(_THREADS, name="ray")
        self._is_ours = False
        self._prepared: dict[tuple[Resources, str], Any] = {}

    async def connect(self) -> None:
        self._ray = ray = _import_ray()
        await self.reach()
        if not ray.is_initialized():
            await self._join()
            self._is_ours = True
        self._function = ray.remote(max_retries=0)(perform)
        if self._pack_actors:
            self._packs = Packs(ray, actors=self._pack_actors, size=self._pack_size)

    async def rejoin(self) -> None:
        if self._packs is not None:
            self._packs.close()
        self._prepared.clear()
        try:
            await asyncio.wait_for(self._in_thread(self._ray.shutdown), _JOIN_SECONDS)
        except TimeoutError as error:
            raise SettingsError("ray_address: the old connection does not end") from error
        await self.connect()

    async def machines(self) -> Sequence[Machine]:
        try:
            nodes = await asyncio.wait_for(self._in_thread(self._ray.nodes), _JOIN_SECONDS)
        except Exception as error:
            raise ClusterFailure("ClusterUnreachable", f"Ray does not answer: {error}") from error
        return [_machine(node) for node in nodes if node["Alive"]]

    def submit(self, call: Call, machines: Sequence[Machine]) -> Submitted:
        if call.packs and self._packs is not None:
            return self._packs.submit(call)
        try:
            return _Single(self._ray, self._prepare(call).remote(call.request))
        except Exception as error:
            raise explain(error) from error

    async def close(self) -> None:
        if self._packs is not None:
            self._packs.close()
        if self._is_ours:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._in_thread(self._ray.shutdown), _LEAVE_SECONDS)
        self._threads.close()

    def _prepare(self, call: Call) -> Any:
        key = (call.resources, call.label)
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= _PREPARED:
                self._prepared.clear()
            prepared = self._prepared[key] = self._function.options(
                name=call.label, max_retries=0, **_options(call.resources)
            )
        return prepared

    async def reach(self) -> None:
        # Ray itself takes minutes to say that nobody is there.
        place = self._address.removeprefix("ray://")
        host, _, port = place.rpartition(":")
        if place in ("auto", "local") or not host or not port.isdigit():
            if place == "auto":
                return
            raise SettingsError(f"ray_address: {self._address!r} must be HOST:PORT, ray://HOST:PORT or auto")
        if host in ("localhost", "127.0.0.1") and not self._address.startswith("ray://"):
            host = self._ray.util.get_node_ip_address()  # as Ray does
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(host.strip("[]"), int(port)), _REACH_SECONDS
            )
        except (OSError, TimeoutError) as error:
            raise SettingsError(f"ray_address: nothing answers at {self._address}") from error
        writer.close()

    async def _join(self) -> None:
        def join() -> None:
            # Ray adds a field of its own to every log record of the process.
            factory = logging.getLogRecordFactory()
            try:
                self._ray.init(
                    address=self._address,
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            finally:
                logging.setLogRecordFactory(factory)

        try:
            await asyncio.wait_for(self._in_thread(join), _JOIN_SECONDS)
        except TimeoutError as error:
            raise SettingsError(
                f"ray_address: {self._address} did not let us in within {_JOIN_SECONDS:g} s; "
                "this machine must be part of the cluster, or use ray://HOST:10001"
            ) from error
        except Exception as error:  # RuntimeError (versions), ConnectionError, and Ray's own
            raise SettingsError(f"ray_address: {self._address}: {' '.join(str(error).split())}") from error

    def _in_thread(self, call: Any) -> Awaitable[Any]:
        return asyncio.wrap_future(self._threads.submit(call))


class _Single:
    """One attempt, one call."""

    def __init__(self, ray: Any, ref: Any) -> None:
        self._ray = ray
        self._ref = ref

    async def reply(self) -> bytes:
        try:
            body: bytes = await self._ref
        except Exception as error:
            raise explain(error) from error
        return body

    def stop(self) -> None:
        # The worker's process is killed: nothing less ends a function that does not listen.
        self._ray.cancel(self._ref, force=True)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray ends the process that it lives in when the cluster's head is away for a minute. Ours has other work.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "31536000")
    # What Ray will do by default: a task without a GPU does not see one, and nothing warns about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    factory = logging.getLogRecordFactory()
    try:
        import ray
    except ImportError as error:
        raise SettingsError("executor=\"ray\" needs an extra: pip install 'tidemill[ray]'") from error
    finally:
        logging.setLogRecordFactory(factory)
    return ray


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


def _machine(node: Mapping[str, Any]) -> Machine:
    has = dict(node["Resources"])
    return Machine(
        name=node["NodeManagerHostname"] or node["NodeManagerAddress"],
        cpu=has.pop("CPU", 0.0),
        memory=has.pop("memory", 0.0),
        gpu=has.pop("GPU", 0.0),
        custom={
            name: amount
            for name, amount in has.items()
            if not name.startswith("node:") and name != "object_store_memory"
        },
    )
