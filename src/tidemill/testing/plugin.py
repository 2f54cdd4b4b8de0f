"""The pytest plug-in: fixtures that hand out harnesses. Loaded in every pytest run, so it imports next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tidemill.testing.harness import Harness

__all__ = ["tidemill_database_url", "tidemill_harness"]


@pytest.fixture
def tidemill_database_url() -> str | None:
    """Where harnesses keep their state: None is a file of their own, an override may give `postgresql://...`."""
    return None


@pytest.fixture
def tidemill_harness(tidemill_database_url: str | None) -> Callable[..., Harness]:
    """Makes harnesses: `async with tidemill_harness(dags=[my_dag]) as harness: ...` (see `Harness`)."""
    from tidemill.testing.harness import Harness

    return partial(Harness, database_url=tidemill_database_url)
