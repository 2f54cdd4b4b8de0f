"""What the aggregates need of a database to write to it: jobs go to the one writer."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from tidemill.storage.commit import Job

__all__ = ["Writing"]


class Writing(Protocol):
    """The writer of one database."""

    @property
    def waiting(self) -> int:
        """Jobs that wait for the next commit."""

    def submit(self, job: Job) -> asyncio.Future[Any]:
        """Hand a job in; the future ends when it is on disk, or with its error."""
