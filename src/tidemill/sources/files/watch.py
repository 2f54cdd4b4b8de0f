"""The watch: hints from the operating system that something changed. Hints only; the scan is the truth.

Every callback runs in a thread of the watching library and must do nothing but pass the hint on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchdog import events
from watchdog.observers import Observer

__all__ = ["Hint", "Watch"]

#: Where the library says that the kernel's queue ran over; it tells its handlers nothing then.
_LIBRARY_LOGGER = "watchdog.observers"
#: What to listen to; the library narrows the kernel's mask to it.
_EVENTS: list[type[events.FileSystemEvent]] = [
    events.FileClosedEvent,
    events.FileCreatedEvent,
    events.FileMovedEvent,
    events.DirCreatedEvent,
    events.DirMovedEvent,
]


@dataclass(frozen=True, slots=True)
class Hint:
    """A file changed."""

    #: Relative to the folder.
    path: str
    #: True when it was closed after writing or moved into place; False when it is only known to be there.
    complete: bool


class Watch:
    """Watches one folder and all below it."""

    def __init__(self, folder: Path, *, on_hint: Callable[[Hint], None], on_loss: Callable[[], None]) -> None:
        """`on_loss`: hints were lost, only a scan can tell what happened."""
        self._folder = folder
        self._translator = _Translator(folder, on_hint)
        self._overflow = _OverflowListener(on_loss)
        self._observer = Observer()
        self._root: tuple[int, int] | None = None

    def start(self) -> None:
        """Watch from here on. Blocking (a system call per folder); raises OSError when it cannot be had."""
        try:
            about = self._folder.stat()
            self._observer.schedule(self._translator, str(self._folder), recursive=True, event_filter=_EVENTS)
            self._observer.start()
        except OSError:
            self._observer.stop()
            raise
        self._root = (about.st_dev, about.st_ino)
        complaints = logging.getLogger(_LIBRARY_LOGGER)
        if not complaints.isEnabledFor(logging.WARNING):  # else a quiet log level would make us deaf
            complaints.setLevel(logging.WARNING)
        complaints.addHandler(self._overflow)

    def is_watching(self, root: tuple[int, int]) -> bool:
        """Whether hints about the folder with this (device, inode) still come."""
        emitters = self._observer.emitters
        return self._root == root and bool(emitters) and all(emitter.is_alive() for emitter in emitters)

    def stop(self) -> None:
        """Let go of everything. Blocking, briefly."""
        logging.getLogger(_LIBRARY_LOGGER).removeHandler(self._overflow)
        self._observer.stop()
        if self._observer.is_alive():
            self._observer.join()


class _Translator(events.FileSystemEventHandler):
    """Library events to hints."""

    def __init__(self, folder: Path, on_hint: Callable[[Hint], None]) -> None:
        self._prefix = str(folder).rstrip("/") + "/"
        self._on_hint = on_hint

    def on_closed(self, event: events.FileSystemEvent) -> None:
        self._tell(event.src_path, complete=True)

    def on_created(self, event: events.FileSystemEvent) -> None:
        if not event.is_directory:
            self._tell(event.src_path, complete=False)

    def on_moved(self, event: events.FileSystemEvent) -> None:
        if not event.is_directory:
            self._tell(event.dest_path, complete=True)

    def _tell(self, path: bytes | str, *, complete: bool) -> None:
        name = os.fsdecode(path)
        if name.startswith(self._prefix):
            self._on_hint(Hint(name[len(self._prefix) :], complete))


class _OverflowListener(logging.Handler):
    """Hears the library complain of a full queue, whichever of its observers it was."""

    def __init__(self, on_loss: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_loss = on_loss

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._on_loss()
