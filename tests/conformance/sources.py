"""The source conformance suite on both databases; the suite itself ships in `tidemill.testing.source_suite`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.storage.contract import Store
from tidemill.testing import source_suite
from tidemill.testing.source_suite import (
    BadInput,
    HurriedClock,
    ProbedLog,
    SourceAdapter,
    dead_letters,
    logged,
    running,
    until,
    until_state,
)

__all__ = [
    "BadInput",
    "HurriedClock",
    "ProbedLog",
    "SourceAdapter",
    "SourceConformance",
    "dead_letters",
    "logged",
    "running",
    "until",
    "until_state",
]


class SourceConformance(source_suite.SourceConformance):
    """Inherit, and give an `adapter` fixture."""

    @pytest.fixture(params=DATABASES)
    async def store(
        self, request: pytest.FixtureRequest, tmp_path: Path, clock: HurriedClock
    ) -> AsyncIterator[Store]:
        async with opened(request, tmp_path, clock) as store:
            yield store
