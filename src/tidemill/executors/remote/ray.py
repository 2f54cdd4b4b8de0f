"""The executor named "ray"."""

from __future__ import annotations

from pathlib import Path

from tidemill.clock import Clock
from tidemill.executors.remote.executor import Observe, RemoteExecutor
from tidemill.executors.remote.ray_cluster import RayCluster
from tidemill.executors.remote.request import Limits

__all__ = ["RayExecutor"]


class RayExecutor(RemoteExecutor):
    """Attempts on a Ray cluster; `connect` before the first one."""

    def __init__(
        self,
        address: str,
        *,
        limits: Limits,
        root: Path | None = None,
        pack_actors: int = 2,
        pack_size: int = 50,
        wait_seconds: float = 0.0,
        observe: Observe | None = None,
        clock: Clock | None = None,
        driver: str | None = None,
    ) -> None:
        """`pack_actors` 0 makes every attempt a call of its own; `driver` as in `RayCluster`, the rest as in
        `RemoteExecutor`."""
        super().__init__(
            RayCluster(address, pack_actors=pack_actors, driver=driver),
            limits=limits,
            root=root,
            pack_size=pack_size,
            wait_seconds=wait_seconds,
            observe=observe,
            clock=clock,
        )
