"""What a package needs to bring a kind of source of its own: the public contract for authors.

A package registers a `SourcePlugin` under an entry point of the group `tidemill.sources`; the entry point's name is
the kind that definitions name. `tidemill.testing.source_suite` holds every source to the same promises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from tidemill.clock import Clock
from tidemill.sources.contract import Source, SourceState, SourceStatus
from tidemill.sources.report import SourceReport
from tidemill.storage.contract import Append, Appended, CursorMove, DeadLetter, EventLog, Ledger

__all__ = [
    "Append",
    "Appended",
    "CursorMove",
    "DeadLetter",
    "EventLog",
    "Ledger",
    "Source",
    "SourcePlugin",
    "SourceReport",
    "SourceState",
    "SourceStatus",
    "Surroundings",
]

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a source is given to work with."""

    log: EventLog
    ledger: Ledger
    clock: Clock
    #: The project folder, for paths in the configuration.
    root: Path


@dataclass(frozen=True, slots=True)
class SourcePlugin(Generic[Config]):
    """One kind of source."""

    #: Checks what stands under `config`; an unknown field should be an error (`extra="forbid"`).
    model: type[Config]
    #: `build(name, config, surroundings)` makes a source whose `name` is the one it is given. No I/O here.
    build: Callable[[str, Config, Surroundings], Source]
