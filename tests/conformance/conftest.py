"""Real clusters for the session; they skip without the engine, and fail there when CI=true."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tidemill.testing.clusters import ClusterError, TestCluster, require_engine


def _require(kind: str) -> None:
    try:
        require_engine(kind)
    except ClusterError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs {kind}: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[TestCluster]:
    """A Ray cluster that this process is connected to: connecting anew for each test would take most of the time."""
    _require("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    with TestCluster("ray") as cluster:
        ray.init(
            address=cluster.address, namespace="tidemill", log_to_driver=False, logging_level=logging.ERROR
        )
        yield cluster
        ray.shutdown()


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[TestCluster]:
    """A Dask cluster of two worker processes."""
    _require("dask")
    with TestCluster("dask") as cluster:
        yield cluster
