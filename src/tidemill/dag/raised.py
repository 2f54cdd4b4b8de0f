"""Exceptions of the user's definition files as problems: what, and at which line."""

from __future__ import annotations

from types import TracebackType

__all__ = ["describe", "line_in"]

#: Characters of an exception's message that are shown.
_MAX_MESSAGE = 500


def describe(error: BaseException) -> str:
    """An exception in one line."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = ""
    kind = type(error).__name__
    return f"{kind}: {message[:_MAX_MESSAGE]}" if message else kind


def line_in(error: BaseException, file: str) -> int:
    """The deepest line of `file` in the traceback of `error`; 0 when it did not pass there."""
    line = 0
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
