"""Clusters for tests: a real Ray or Dask on this machine, started and ended by the test session."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["ClusterError", "TestCluster", "require_engine"]

_END_SECONDS = 30.0


class ClusterError(Exception):
    """The engine is not installed, or did not start."""


def require_engine(kind: str) -> None:
    """Raises `ClusterError` when the engine's package is missing."""
    package = {"ray": "ray", "dask": "distributed"}[kind]
    if importlib.util.find_spec(package) is None:
        raise ClusterError(f"tests with {kind} need an extra: pip install 'tidemill[{kind}]'")


class TestCluster:
    """One cluster, in processes of their own; `address` is where it listens, `client` the `ray://` of one with that."""

    __test__ = False

    def __init__(self, kind: str, *arguments: str) -> None:
        self.kind = kind
        self.address = ""
        self.client = ""
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self._driver: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> TestCluster:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tidemill.testing.cluster_server", self.kind, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = self._read()
        self.address, self.client = said["address"], said.get("client", "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._driver, self._process):
            if process is not None:
                _end(process)
        if self._folder is not None:
            self._folder.cleanup()

    def add_machine(self, **resources: float) -> None:
        """A further machine (Ray only) with resources of its own."""
        self._ask(do="add", resources=resources)

    def remove_machine(self) -> None:
        """Kill the machine that was added last."""
        self._ask(do="remove")

    def keep_driver(self) -> str:
        """The socket of a process that is part of the cluster (Ray only) until this one ends: joining takes a second,
        which the executors of many tests need not take each."""
        if self._driver is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tidemill-ray-")
            path = str(Path(self._folder.name, "s"))
            self._driver = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "tidemill.executors.remote.ray_driver", self.address, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self._driver.stdout is not None  # noqa: S101
            said = json.loads(self._driver.stdout.readline() or "{}")
            if not said.get("ready"):
                raise ClusterError(f"the driver did not join: {said.get('error')}")
        assert self._folder is not None  # noqa: S101
        return str(Path(self._folder.name, "s"))

    def stop_head(self) -> None:
        """Kill the head (Ray only) and everything on its machine."""
        self._ask(do="stop")

    def start_head(self) -> None:
        """A new head at the same address."""
        self._ask(do="start")

    def _ask(self, **command: Any) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise ClusterError(f"the {self.kind} cluster did not start (exit code {self._process.wait()})")


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_SECONDS)
    finally:
        process.stdout.close()
