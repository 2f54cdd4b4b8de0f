"""Dask as the engine: one submitted call per attempt.

Dask cannot end a function that runs, nor give one an environment of its own: a stopped attempt is reported at once and
its thread goes on, and variables are set in the worker's process while the task runs. Abstract labels are the only
resources that it reserves; processors and memory choose among the workers.
"""

from __future__ import annotations

import asyncio
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tidemill.errors import SettingsError
from tidemill.executors.remote.capacity import Machine, fits
from tidemill.executors.remote.cluster import Call, Submitted
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.worker import perform

__all__ = ["DaskCluster", "perform_on_dask"]

_CONNECT_SECONDS = 10.0
_SHOWN = 1500


class DaskCluster:
    """See `Cluster`."""

    name = "dask"
    sets_environment = True
    stop_seconds = 0.0
    #: One call is as cheap as a request to a warm worker would be.
    lanes = 0

    def __init__(self, address: str) -> None:
        """`address` of the scheduler, such as `tcp://scheduler:8786`."""
        self._address = address
        self._client: Any = None
        self._ending: set[asyncio.Future[Any]] = set()
        #: Where workers tell that they have begun a call whose time is limited, and those that have not.
        self._topic = f"tidemill-{uuid.uuid4().hex}"
        self._unbegun: dict[str, Callable[[], None]] = {}

    def watch(self, lost: Callable[[], None]) -> None:
        # Dask's client joins the scheduler again by itself, or is found out when the machines are looked at.
        pass

    async def reach(self) -> None:
        found = urlsplit(self._address if "://" in self._address else f"tcp://{self._address}")
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(found.hostname, found.port), _CONNECT_SECONDS
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise SettingsError(f"dask_address: nothing answers at {self._address}") from error
        writer.close()

    async def rejoin(self) -> None:
        old, self._client = self._client, None
        await old.close()
        await self.connect()

    async def connect(self) -> None:
        try:
            import distributed
        except ImportError as error:
            raise SettingsError("executor=\"dask\" needs an extra: pip install 'tidemill[dask]'") from error
        await self.reach()
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            self._address,
            asynchronous=True,
            set_as_default=False,
            timeout=_CONNECT_SECONDS,
            name="tidemill",
        )
        try:
            await client
            await self._check(client)
        except SettingsError:
            await client.close()
            raise
        except Exception as error:  # OSError, TimeoutError, and what an address that is none raises
            await client.close()
            raise SettingsError(f"dask_address: nothing answers at {self._address}") from error
        client.subscribe_topic(self._topic, self._hear)
        self._client = client

    def _hear(self, event: tuple[float, str]) -> None:
        on_start = self._unbegun.pop(event[1], None)
        if on_start is not None:
            on_start()

    async def _check(self, client: Any) -> None:
        """The scheduler must be of our versions and leave retries to us."""
        from distributed import __version__ as ours  # type: ignore[attr-defined]

        versions = (await client.scheduler.versions())["host"] | (await client.scheduler.versions())[
            "packages"
        ]
        there = (versions["distributed"], ".".join(str(versions["python"]).split(".")[:2]))
        here = (ours, ".".join(platform.python_version_tuple()[:2]))
        if there != here:
            raise SettingsError(
                f"dask_address: the scheduler has distributed {there[0]} on Python {there[1]}, this process "
                f"{here[0]} on {here[1]}; use the same ones"
            )
        allowed = await client.run_on_scheduler(_allowed_failures)
        if allowed:
            raise SettingsError(
                f"dask_address: the scheduler repeats tasks by itself ({allowed} times); start it with "
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0, so that a task runs once per attempt"
            )

    async def machines(self) -> Sequence[Machine]:
        try:
            if self._client is None:
                raise ConnectionError("there is no connection")
            found = await self._client.scheduler.identity(n_workers=-1)
        except Exception as error:
            raise ClusterFailure("ClusterUnreachable", f"Dask does not answer: {_describe(error)}") from error
        return [_machine(address, facts) for address, facts in found["workers"].items()]

    def submit(self, call: Call, machines: Sequence[Machine]) -> Submitted:
        request = call.resources
        labels = dict(request.custom)
        if request.gpu:
            labels["GPU"] = request.gpu
        chosen = None
        if request.cpu is not None or request.memory is not None:
            chosen = [one.name for one in machines if fits(request, one)]
        topic = ""
        if call.on_start is not None:
            topic = self._topic
            self._unbegun[call.key] = call.on_start
        try:
            future = self._client.submit(
                perform_on_dask,
                call.request,
                topic,
                call.key,
                key=f"tidemill-{call.key}",
                pure=False,
                retries=0,
                resources=labels or None,
                workers=chosen,
            )
        except Exception as error:
            self._unbegun.pop(call.key, None)
            raise ClusterFailure("ClusterUnreachable", _describe(error)) from error
        return _Single(future, self._ending, lambda: self._unbegun.pop(call.key, None))

    def submit_pack(self, request: bytes, lane: int) -> Submitted:
        raise NotImplementedError("there are no warm workers")

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.gather(*self._ending, return_exceptions=True)
            await self._client.close()


class _Single:
    """One attempt, one future; it must be kept, or Dask forgets the call."""

    def __init__(self, future: Any, ending: set[asyncio.Future[Any]], ended: Callable[[], object]) -> None:
        self._future = future
        self._ending = ending
        self._ended = ended

    async def reply(self) -> bytes:
        try:
            body: bytes = await self._future
        except Exception as error:
            raise _explain(error) from error
        finally:
            self._ended()
        return body

    def stop(self) -> None:
        ended = asyncio.ensure_future(self._future.cancel(force=True))
        self._ending.add(ended)
        ended.add_done_callback(self._ending.discard)


def perform_on_dask(request: bytes, topic: str, key: str) -> bytes:
    """One attempt on a worker; its beginning is told to `topic`, where there is one."""
    if not topic:
        return perform(request)
    from distributed import get_worker

    return perform(request, lambda: get_worker().log_event(topic, key))


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)


def _machine(address: str, facts: Mapping[str, Any]) -> Machine:
    labels = dict(facts.get("resources") or {})
    return Machine(
        name=address,
        cpu=float(facts.get("nthreads", 0)),
        memory=facts.get("memory_limit") or None,
        gpu=float(labels.pop("GPU", 0.0)),
        custom={name: float(amount) for name, amount in labels.items()},
    )


def _explain(error: Exception) -> ClusterFailure:
    kind = type(error).__name__
    text = _describe(error)
    if "No module named 'tidemill" in text:
        message = "the worker has no Tidemill; install the same version in the cluster's environment"
        return ClusterFailure("WorkerUnprepared", message, permanent=True)
    if kind == "KilledWorker":
        return ClusterFailure("WorkerLost", f"the worker's process died while the task ran ({kind})")
    if "Cancel" in kind:
        return ClusterFailure("WorkerLost", f"the call was cancelled or forgotten in the cluster ({text})")
    return ClusterFailure("ClusterFailed", text)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}"
