"""Real clusters for the session; they skip without the engine, and fail there when CI=true."""

from __future__ import annotations

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
    """A Ray cluster."""
    _require("ray")
    with TestCluster("ray") as cluster:
        yield cluster


@pytest.fixture
def own_ray_cluster() -> Iterator[TestCluster]:
    """One that a test may stop, with `ray://`."""
    _require("ray")
    with TestCluster("ray", "client") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[TestCluster]:
    """A Dask cluster of two worker processes."""
    _require("dask")
    with TestCluster("dask") as cluster:
        yield cluster
