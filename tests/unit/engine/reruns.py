"""What the tests of reruns share."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tidemill import dag, task
from tidemill.dag.declaration import DagDefinition


class Chain:
    """A DAG of four tasks, `a` to `b` to `c` and `side`, that count their calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.flow = self._make()

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.broken:
            raise ValueError(name)

    def _make(self) -> DagDefinition:
        @task
        async def a(x: int) -> int:
            self._called("a")
            return x

        @task
        async def b(value: int) -> int:
            self._called("b")
            return value + 1

        @task
        async def c(value: int) -> int:
            self._called("c")
            return value * 10

        @task
        async def side() -> str:
            self._called("side")
            return "side"

        @dag
        def flow(x: int) -> Any:
            side()
            return c(b(a(x)))

        return flow

    def taken(self) -> dict[str, int]:
        """Calls since the last look."""
        calls = dict(self.calls)
        self.calls.clear()
        return calls
