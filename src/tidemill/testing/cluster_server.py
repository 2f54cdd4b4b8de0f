"""A small Ray or Dask cluster of real processes on this machine, in a process of its own.

`python -m tidemill.testing.cluster_server ray|dask` prints its addresses as one line of JSON, obeys commands (one line
of JSON each, answered by one), and ends everything it started when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
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


class _Ray:
    """A head, and the machines added to it; `with_client` also serves `ray://`."""

    def __init__(self, *, with_client: bool) -> None:
        from ray.cluster_utils import Cluster

        self._size: dict[str, Any] = {"num_cpus": CPUS, "object_store_memory": 100 << 20}
        self._head: dict[str, Any] = {**self._size, "include_dashboard": False, "gcs_server_port": _port()}
        self.client = ""
        if with_client:
            # The client server is told the agent's port before a free one would be picked.
            self._head["runtime_env_agent_port"] = _port()
            self._head["ray_client_server_port"] = port = _port()
            self.client = f"ray://127.0.0.1:{port}"
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=self._head)
        self._added: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def obey(self, command: dict[str, Any]) -> None:
        """`add` a machine with `resources`, `remove` the last one added, `stop` the head, `start` it where it was."""
        cluster = self._cluster
        match command["do"]:
            case "add":
                self._added.append(cluster.add_node(**self._size, resources=command["resources"]))
            case "remove":
                cluster.remove_node(self._added.pop(), allow_graceful=False)
                cluster.wait_for_nodes()  # until the others know
            case "stop":
                cluster.remove_node(cluster.head_node, allow_graceful=False)
            case "start":
                cluster.add_node(**self._head)
            case unknown:
                raise ValueError(f"no such command: {unknown}")

    def end(self) -> None:
        self._cluster.shutdown()


def _serve_ray(*, with_client: bool) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A machine that was killed is found dead in a second and not in a quarter of a minute.
    os.environ.update(
        {
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "250",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            "RUNTIME_ENV_RETRY_TIMES": "1",
        }
    )
    ray = _Ray(with_client=with_client)
    try:
        _tell(address=ray.address, client=ray.client)
        for command in _commands():
            ray.obey(command)
            _tell(done=True)
    finally:
        ray.end()


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


def _port() -> int:
    """One that is free, and above those that Ray gives to its workers."""
    for port in range(21_000, 22_900):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104 - closed at once
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port
    raise OSError("no port is free")


_given: set[int] = set()


def main() -> None:
    """Serve the kind of cluster that the arguments name."""
    if sys.argv[1] == "ray":
        _serve_ray(with_client="client" in sys.argv[2:])
    else:
        asyncio.run(_serve_dask(int(sys.argv[2]) if len(sys.argv) > 2 else 0))


if __name__ == "__main__":
    main()
