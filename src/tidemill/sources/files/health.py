"""What is wrong with a file source at this moment, and the state that follows from it."""

from __future__ import annotations

import logging
from enum import StrEnum

from tidemill.sources.contract import SourceState

__all__ = ["Fault", "Health"]

logger = logging.getLogger(__name__)


class Fault(StrEnum):
    """A kind of trouble; each heals by itself."""

    #: The folder is not there or cannot be listed.
    FOLDER = "folder"
    #: The store takes nothing.
    STORE = "store"
    #: No hints from the operating system: new files are found by scans only.
    WATCH = "watch"
    #: A folder below cannot be listed.
    LISTING = "listing"
    #: A file cannot be read.
    FILE = "file"


_STALLING = frozenset({Fault.FOLDER, Fault.STORE})


class Health:
    """The faults of one source; told once in the log, when they begin."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._faults: dict[Fault, str] = {}
        self._base = SourceState.STARTING

    @property
    def state(self) -> SourceState:
        """Stalled and degraded follow from the faults; without any, the base state holds."""
        if self._base is SourceState.STOPPED:
            return self._base
        if not _STALLING.isdisjoint(self._faults):
            return SourceState.STALLED
        if self._faults and self._base is SourceState.LIVE:
            return SourceState.DEGRADED
        return self._base

    @property
    def error(self) -> str:
        """What is wrong, the stalling faults first; empty when nothing is."""
        faults = sorted(self._faults, key=lambda fault: fault not in _STALLING)
        return "; ".join(self._faults[fault] for fault in faults)

    def has(self, fault: Fault) -> bool:
        """Whether this is wrong now."""
        return fault in self._faults

    def become(self, base: SourceState) -> None:
        """Starting, live or stopped; a new start begins without faults."""
        if base is SourceState.STARTING:
            self._faults.clear()
        self._base = base

    def report(self, fault: Fault, error: str) -> None:
        """Something is wrong, until `mend`."""
        if fault not in self._faults:
            name = "source.stalled" if fault in _STALLING else "source.degraded"
            logger.warning(name, extra={"source": self._source, "error": error})
        self._faults[fault] = error

    def mend(self, fault: Fault) -> None:
        """It is right again."""
        self._faults.pop(fault, None)
