"""What a task prints and logs on its worker, gathered for the node, within bounds.

Lines belong to the attempt in whose context they are written, so that attempts side by side in one process do not mix;
threads that a task starts by itself write where the worker writes.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import BinaryIO, TextIO

from tidemill.executors.remote.request import Line

__all__ = ["Lines", "echo", "gather"]

#: Lines kept of one attempt, and characters of one line and of all of them.
_MAX_LINES = 200
_MAX_LINE = 2000
_MAX_CHARACTERS = 32_768

#: Told of every line that is kept, beside.
_echo: Callable[[str, str], object] | None = None

_current: ContextVar[Lines | None] = ContextVar("tidemill_lines", default=None)


class Lines:
    """The lines of one attempt."""

    __slots__ = ("_characters", "_open", "dropped", "kept")

    def __init__(self) -> None:
        self.kept: list[Line] = []
        self.dropped = 0
        self._characters = 0
        self._open: dict[str, str] = {}

    def add(self, level: str, text: str) -> None:
        """One whole line."""
        text = text[:_MAX_LINE].encode("utf-8", "backslashreplace").decode()
        if len(self.kept) >= _MAX_LINES or self._characters + len(text) > _MAX_CHARACTERS:
            self.dropped += 1
            return
        self._characters += len(text)
        self.kept.append(Line(level, text))
        if _echo is not None:
            _echo(level, text)

    def write(self, level: str, text: str) -> None:
        """Part of a stream."""
        *whole, rest = (self._open.pop(level, "") + text).split("\n")
        for line in whole:
            self.add(level, line)
        if rest:
            self._open[level] = rest[:_MAX_LINE]

    def end(self) -> None:
        """The streams end here, in the middle of a line or not."""
        if not self._open:
            return
        for level, rest in self._open.items():
            self.add(level, rest)
        self._open.clear()


def echo(tell: Callable[[str, str], object]) -> None:
    """From here on `tell` is also told of every line of this process, as it comes: level and text."""
    global _echo
    _echo = tell


class gather:  # noqa: N801 - a context manager, written as a class for its speed
    """What is printed and logged inside."""

    __slots__ = ("_lines", "_token")

    def __enter__(self) -> Lines:
        if type(sys.stdout) is not _Stream or type(sys.stderr) is not _Stream or not _installed():
            _install()
        self._lines = Lines()
        self._token = _current.set(self._lines)
        return self._lines

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)
        self._lines.end()


class _Stream(io.TextIOBase):
    """Writes to the attempt in whose context it is called, else to the worker's own stream."""

    def __init__(self, own: TextIO, level: str) -> None:
        self._own = own
        self._level = level

    def write(self, text: str) -> int:
        lines = _current.get()
        if lines is None:
            return self._own.write(text)
        lines.write(self._level, text)
        return len(text)

    def flush(self) -> None:
        self._own.flush()

    def fileno(self) -> int:
        return self._own.fileno()

    def isatty(self) -> bool:
        return False

    @property
    def buffer(self) -> BinaryIO:
        """For bytes: the worker's own stream."""
        return self._own.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


class _Gathering(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines = _current.get()
        if lines is not None:
            try:
                text = f"{record.name}: {self.format(record)}"
            except Exception:  # the user's own arguments
                text = f"{record.name}: (a log line that cannot be made)"
            for line in text.splitlines():
                lines.add(record.levelname, line)


_gathering = _Gathering()


def _installed() -> bool:
    return _gathering in logging.getLogger().handlers


def _install() -> None:
    """Once per process; again when somebody has put other streams there."""
    if not isinstance(sys.stdout, _Stream):
        sys.stdout = _Stream(sys.stdout, "INFO")
    if not isinstance(sys.stderr, _Stream):
        sys.stderr = _Stream(sys.stderr, "WARNING")
    root = logging.getLogger()
    if not _installed():
        root.addHandler(_gathering)
        if root.level in (logging.NOTSET, logging.WARNING):
            root.setLevel(logging.INFO)
