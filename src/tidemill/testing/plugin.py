"""The pytest plug-in: a fixture that hands out harnesses. Loaded in every pytest run, so it imports next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tidemill.testing.harness import Harness

__all__ = ["tidemill_harness"]


@pytest.fixture
def tidemill_harness() -> Callable[..., Harness]:
    """Makes harnesses: `async with tidemill_harness(dags=[my_dag]) as harness: ...` (see `Harness`)."""
    from tidemill.testing.harness import Harness

    return Harness
