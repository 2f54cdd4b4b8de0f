"""What is wrong with a file source at this moment, and the state that follows from it."""

from __future__ import annotations

from enum import StrEnum

from tidemill.sources.contract import SourceState
from tidemill.sources.state import StateMachine

__all__ = ["Fault", "Health"]


class Fault(StrEnum):
    """A kind of trouble; each heals by itself."""

    #: The folder is not there or cannot be listed.
    FOLDER = "folder"
    #: The store takes nothing.
    STORE = "store"
    #: No hints from the operating system: new files are found by listing only.
    WATCH = "watch"
    #: A folder below cannot be listed.
    LISTING = "listing"
    #: A file cannot be read.
    FILE = "file"
    #: A file cannot be moved into the archive.
    ARCHIVE = "archive"


_STALLING = frozenset({Fault.FOLDER, Fault.STORE})


class Health:
    """The faults of one source; each is told once, when it begins."""

    def __init__(self, source: str) -> None:
        self._machine = StateMachine(source, "files")
        self._faults: dict[Fault, str] = {}
        self._base = SourceState.STARTING

    @property
    def state(self) -> SourceState:
        """Stalled and degraded follow from the faults; without any, the base state holds."""
        return self._machine.state

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
        if base is not self._base:
            self._base = base
            self._tell()

    def report(self, fault: Fault, error: str) -> None:
        """Something is wrong, until `mend`."""
        is_new = fault not in self._faults
        self._faults[fault] = error
        if is_new:
            self._tell()

    def mend(self, fault: Fault) -> None:
        """It is right again."""
        if self._faults.pop(fault, None) is not None:
            self._tell()

    def _tell(self) -> None:
        state = self._derived()
        # Fewer reasons for the same state are no news.
        self._machine.become(
            state, self.error if state in (SourceState.STALLED, SourceState.DEGRADED) else ""
        )

    def _derived(self) -> SourceState:
        if self._base is SourceState.STOPPED:
            return self._base
        if not _STALLING.isdisjoint(self._faults):
            return SourceState.STALLED
        if self._faults and self._base is SourceState.LIVE:
            return SourceState.DEGRADED
        return self._base
