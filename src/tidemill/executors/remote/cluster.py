"""The seam between the life of an attempt (`executor`) and an engine that carries it to a worker (`ray`, `dask`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill.dag.resources import Resources
from tidemill.executors.remote.capacity import Machine

__all__ = ["Call", "Cluster", "Submitted"]


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt on its way to a worker."""

    #: Unique: one attempt is one call.
    key: str
    #: DAG and task, for people who look at the engine.
    label: str
    request: bytes
    resources: Resources
    #: Called when a worker begins the call, for those whose time is limited from there.
    on_start: Callable[[], None] | None = None


class Submitted(Protocol):
    """A call that an engine has taken."""

    def reply(self) -> Awaitable[bytes]:
        """What the worker answers; raises `ClusterFailure`."""

    def stop(self) -> None:
        """End the call as far as the engine can; `reply` may end with a failure then, or not at all."""


class Cluster(Protocol):
    """An engine's workers."""

    #: As in `TaskNode.executor`.
    name: str
    #: True when the worker sets the task's variables, because the engine cannot.
    sets_environment: bool
    #: How long a stopped call may take to end, in seconds; 0 when the engine cannot end what runs.
    stop_seconds: float
    #: Warm workers that take many attempts in one request; 0 when the engine has none.
    lanes: int

    async def connect(self) -> None:
        """Return when attempts can be submitted. Raises `SettingsError`; the service does not start then."""

    def watch(self, lost: Callable[[], None]) -> None:
        """`lost` is called when the connection ends by itself; calls under way have failed then."""

    async def reach(self) -> None:
        """Return when something answers at the cluster's address. Raises `SettingsError`."""

    async def rejoin(self) -> None:
        """Let go of a connection that serves no more and make a new one. Raises `SettingsError`."""

    async def machines(self) -> Sequence[Machine]:
        """What the cluster has now. Raises `ClusterFailure`."""

    def submit(self, call: Call, machines: Sequence[Machine]) -> Submitted:
        """Hand a call to the engine, which makes it at most once. `machines` are those last seen."""

    def submit_pack(self, request: bytes, lane: int) -> Submitted:
        """Hand a request of many attempts to a warm worker, which makes them at most once."""

    async def close(self) -> None:
        """Let go of the cluster; calls that run are ended."""
