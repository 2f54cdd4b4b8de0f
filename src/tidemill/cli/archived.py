"""Events that only the project's archive has, as they were sent, for commands that look at what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemill.keeping.archive import Archived

__all__ = ["read_archive"]


def read_archive(project: Path) -> Iterator[Archived] | None:
    """Every archived event in order, with the data that is kept apart; None where the project has no archive."""
    from tidemill.keeping.archive import open_archive
    from tidemill.settings import load
    from tidemill.storage.claims import EventData

    settings = load(project)
    if settings.archive_url is None:
        return None
    archived = open_archive(settings.archive_url, project).read()
    if settings.claim_check_url is None:
        return archived
    data = EventData(settings.claim_check_url)
    return (replace(one, logged=data.whole(one.logged)) for one in archived)
