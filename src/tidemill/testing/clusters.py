"""Clusters for tests: a real Ray or Dask on this machine, started and ended by the test session."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
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
    """One cluster, in processes of their own; `address` is where it listens."""

    __test__ = False

    def __init__(self, kind: str, *arguments: str) -> None:
        self.kind = kind
        self.address = ""
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> TestCluster:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tidemill.testing.cluster_server", self.kind, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._read()["address"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None  # noqa: S101
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(_END_SECONDS)
        finally:
            process.stdout.close()

    def add_machine(self, **resources: float) -> None:
        """A further machine (Ray only) with resources of its own."""
        self._ask(do="add", resources=resources)

    def remove_machine(self) -> None:
        """Kill the machine that was added last."""
        self._ask(do="remove")

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
