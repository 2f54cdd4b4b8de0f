"""A harness for tests that are plain functions: the same words, without `await`.

The stages work while one of its methods is called, and stand still in between.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from types import TracebackType
from typing import Any, Self

from tidemill.testing.harness import Harness

__all__ = ["BlockingHarness"]


class BlockingHarness:
    """Every method of `Harness`, each of which returns when it is done.

    with BlockingHarness(dags=[my_dag]) as harness:
        harness.start("my_dag")
        harness.run_until_done()
        harness.expect_run("my_dag", result=3)
    """

    def __init__(self, **options: Any) -> None:
        """Takes what `Harness` takes."""
        self._options = options
        self._harness: Harness | None = None
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        try:
            self._harness = self._runner.run(self._begin())
        except BaseException:
            self._runner.close()
            raise
        return self

    async def _begin(self) -> Harness:
        harness = Harness(**self._options)
        return await harness.__aenter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._runner is not None  # noqa: S101 - it was entered
        try:
            self._runner.run(self.harness.__aexit__(kind, error, where))
        finally:
            self._runner.close()

    @property
    def harness(self) -> Harness:
        """The harness itself; its methods belong into this one's event loop."""
        if self._harness is None:
            raise RuntimeError("use it in a with statement")
        return self._harness

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self.harness, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        def call(*args: Any, **kwargs: Any) -> Any:
            assert self._runner is not None  # noqa: S101 - it was entered
            return self._runner.run(found(*args, **kwargs))

        return call

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(Harness)})
