"""A DAG as it is written: a function with options, found while its file is imported and built afterwards."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from tidemill.dag import recording
from tidemill.dag.options import DagOptions

__all__ = ["DagDefinition", "collect"]

_found: ContextVar[list[DagDefinition] | None] = ContextVar("tidemill_definitions", default=None)


@contextmanager
def collect() -> Iterator[list[DagDefinition]]:
    """Every DAG that is declared inside, in order, including those of modules imported on the way."""
    found: list[DagDefinition] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


class DagDefinition:
    """A function whose calls of tasks make a DAG; it runs once, at build.

    Calling it inside another DAG makes its tasks tasks of that one (see `groups`). Anywhere else, as is
    customary at the end of an Airflow file, it does nothing and returns it.
    """

    def __init__(
        self, function: Callable[..., Any], options: DagOptions, *, problems: tuple[str, ...] = ()
    ) -> None:
        if not inspect.isfunction(function):
            raise TypeError(f"@dag decorates a function, not {type(function).__name__}")
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        #: Mistakes in how it was declared.
        self.problems = problems
        code = inspect.unwrap(function).__code__
        self.code_file: str = code.co_filename
        #: The file whose import declared it (not the file of a factory function that was called there), and
        #: its line.
        self.file: str = self.code_file
        self.line: int = code.co_firstlineno
        found = _found.get()
        if found is not None:
            self.file, self.line = _declaring_module(self.file, self.line)
            found.append(self)

    @property
    def dag_id(self) -> str:
        """The id of the DAG."""
        return self.options.dag_id

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Inside another DAG: its tasks become tasks of that one; what its function returned. Else: nothing."""
        return self._call(args, kwargs)

    def group(
        self,
        *,
        name: str | None = None,
        on_failure: Literal["propagate", "isolate", "compensate"] = "propagate",
    ) -> Callable[..., Any]:
        """To be called inside another DAG in its place: under another name, with another answer to failure.

        "propagate": it is the caller's failure. "isolate": it is not; what waits for its tasks follows trigger
        rules. "compensate": as "propagate", and what its tasks did is undone (`compensate=` of tasks) as soon as
        the group has failed.
        """
        return lambda *args, **kwargs: self._call(args, kwargs, name=name, policy=on_failure)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Inside another DAG: a run of its own with these parameters; its result. See `nested.run_dag`."""
        from tidemill.dag.nested import arguments_of, run_dag

        try:
            parameters = arguments_of(self, args, kwargs)
        except TypeError as error:
            current = recording.current()
            if current is None:
                raise
            current.refuse(f"DAG {self.dag_id!r}: {error}")
            return None
        return run_dag(self, parameters)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> Any:
        current = recording.current()
        if current is None:
            return self
        from tidemill.dag.groups import call_inside

        return call_inside(self, current, args, kwargs, **options)

    def __repr__(self) -> str:
        return f"<DAG {self.dag_id}>"


def _declaring_module(code_file: str, code_line: int) -> tuple[str, int]:
    frame = sys._getframe(1)  # noqa: SLF001 - documented; `inspect.stack` reads files
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    if frame.f_code.co_name != "<module>" or frame.f_code.co_filename == code_file:
        return code_file, code_line
    return frame.f_code.co_filename, frame.f_lineno
