"""The executor named "dask"."""

from __future__ import annotations

from pathlib import Path

from tidemill.clock import Clock
from tidemill.executors.remote.dask_cluster import DaskCluster
from tidemill.executors.remote.executor import Observe, RemoteExecutor
from tidemill.executors.remote.request import Limits

__all__ = ["DaskExecutor"]


class DaskExecutor(RemoteExecutor):
    """Attempts on a Dask cluster; `connect` before the first one."""

    def __init__(
        self,
        address: str,
        *,
        limits: Limits,
        root: Path | None = None,
        wait_seconds: float = 0.0,
        observe: Observe | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`wait_seconds` and `root` as in `RemoteExecutor`."""
        super().__init__(
            DaskCluster(address),
            limits=limits,
            root=root,
            wait_seconds=wait_seconds,
            observe=observe,
            clock=clock,
        )
