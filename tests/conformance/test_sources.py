"""Every source against the source conformance suite."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.sources import BadInput, SourceAdapter, SourceConformance

from tidemill.clock import Clock
from tidemill.events.event import Event
from tidemill.project.model import FileSource
from tidemill.sources.contract import Source
from tidemill.sources.files import FileSourceStage
from tidemill.storage.contract import EventLog, Ledger


class FilesAdapter:
    """A folder into which files are written."""

    keeps_bad_input = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def build(self, log: EventLog, ledger: Ledger, clock: Clock) -> Source:
        spec = FileSource(name="inbox", path=self.folder, quiet=timedelta(seconds=1))
        return FileSourceStage(spec, log, ledger, clock=clock, scan_seconds=30)

    async def put(self, keys: Sequence[str]) -> None:
        for key in keys:
            (self.folder / f"{key}.csv").write_text(key)

    async def put_bad(self) -> BadInput:
        name = b"caf\xe9.csv"
        Path(os.fsdecode(os.fsencode(self.folder) + b"/" + name)).write_text("latin")
        coordinates = {"folder": str(self.folder), "path": "caf\\xe9.csv", "size": 5}
        return BadInput("invalid_encoding", name, coordinates)

    def key_of(self, event: Event) -> str:
        return str(event.subject).removesuffix(".csv")

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        return {row.path.removesuffix(".csv") async for row in ledger.files("inbox")}


class TestFiles(SourceConformance):
    """The file source."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> SourceAdapter:
        return FilesAdapter(tmp_path / "inbox")
