"""A small Ray or Dask cluster of real processes on this machine, in a process of its own.

`python -m tidemill.testing.cluster_server ray|dask` prints its address as one line of JSON, obeys commands (one line of
JSON each, answered by one), and ends everything it started when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["main"]

#: Of each machine in the cluster.
CPUS = 2


def _tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _commands() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _serve_ray() -> None:
    """Commands: `add` a machine with `resources`, `remove` the last one added."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A machine that was killed is found dead in a second and not in a quarter of a minute.
    os.environ.update(
        {
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "250",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
    )
    from ray.cluster_utils import Cluster

    size: dict[str, Any] = {"num_cpus": CPUS, "object_store_memory": 100 << 20}
    cluster: Any = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    added: list[Any] = []
    try:
        _tell(address=cluster.address)
        for command in _commands():
            if command["do"] == "add":
                added.append(cluster.add_node(**size, resources=command["resources"]))
            else:
                cluster.remove_node(added.pop(), allow_graceful=False)
                cluster.wait_for_nodes()  # until the others know
            _tell(done=True)
    finally:
        cluster.shutdown()


async def _serve_dask(failures: int) -> None:
    import dask
    from distributed import LocalCluster

    with dask.config.set({"distributed.scheduler.allowed-failures": failures}):
        cluster: Any = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=2,
            threads_per_worker=CPUS,
            host="127.0.0.1",
            dashboard_address=None,
            asynchronous=True,
            resources={"special": 1},
        )
        async with cluster:
            _tell(address=cluster.scheduler_address)
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Serve the kind of cluster that the arguments name."""
    if sys.argv[1] == "ray":
        _serve_ray()
    else:
        asyncio.run(_serve_dask(int(sys.argv[2]) if len(sys.argv) > 2 else 0))


if __name__ == "__main__":
    main()
