"""The watch: hints from the operating system that something changed. Hints only; the scan is the truth.

Every callback runs in a thread of the watching library and must do nothing but pass the hint on.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

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
    #: True when it was moved into place.
    moved: bool = False


class Watch:
    """Watches one folder and all below it."""

    def __init__(self, folder: Path, *, on_hint: Callable[[Hint], None], on_loss: Callable[[], None]) -> None:
        """`on_loss`: hints were lost, only a scan can tell what happened."""
        self._folder = folder
        self._translator = _Translator(folder, on_hint)
        self._overflow = _OverflowListener(on_loss)
        self._observer: BaseObserver | None = None
        self._root: tuple[int, int] | None = None

    def start(self) -> None:
        """Watch from here on. Blocking (a system call per folder); raises OSError when it cannot be had."""
        # Folders made in a hurry are watched twice, which the library warns of in its own thread; where
        # warnings are errors that would end the thread. Harmless: the second watch replaces the first.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer = Observer()
        try:
            about = self._folder.stat()
            observer.schedule(self._translator, str(self._folder), recursive=True, event_filter=_EVENTS)
            observer.start()
        except OSError:
            observer.stop()
            raise
        self._observer = observer
        self._root = (about.st_dev, about.st_ino)
        complaints = logging.getLogger(_LIBRARY_LOGGER)
        if not complaints.isEnabledFor(logging.WARNING):  # else a quiet log level would make us deaf
            complaints.setLevel(logging.WARNING)
        complaints.addHandler(self._overflow)

    def is_watching(self, root: tuple[int, int]) -> bool:
        """Whether hints about the folder with this (device, inode) still come: its threads may have died."""
        if self._observer is None or self._root != root:
            return False
        threads: list[Thread | None] = [
            *self._observer.emitters,
            getattr(self._observer, "_inotify_fd", None),
        ]
        return all(thread.is_alive() for thread in threads if thread is not None)

    def stop(self) -> None:
        """Let go of everything. Blocking, briefly."""
        logging.getLogger(_LIBRARY_LOGGER).removeHandler(self._overflow)
        if self._observer is not None:
            self._observer.stop()
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
            self._tell(event.dest_path, complete=True, moved=True)

    def _tell(self, path: bytes | str, *, complete: bool, moved: bool = False) -> None:
        name = os.fsdecode(path)
        if name.startswith(self._prefix):
            self._on_hint(Hint(name[len(self._prefix) :], complete, moved))


class _OverflowListener(logging.Handler):
    """Hears the library complain of a full queue, whichever of its observers it was."""

    def __init__(self, on_loss: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_loss = on_loss

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._on_loss()
