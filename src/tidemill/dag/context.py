"""What a task may know about the attempt it is called for.

A task asks for it by annotating one parameter `Context` (or `Context | None`); callers never pass it. How
that parameter is found lives here too, so that the annotation and its meaning stand together.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidemill.events.event import Event

__all__ = ["Context", "find_context_parameters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One attempt of one task of one run, as the task sees it."""

    run_id: str
    dag_id: str
    task_id: str
    #: From 1.
    attempt: int
    #: `run_id/task_id`: the same for every attempt. Hand it to the outside world to make repeated effects
    #: one.
    idempotency_key: str
    #: The event that started the run; None when a person started it.
    event: Event | None = None
    #: The run's parameters by name, as the annotated types.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: The schedule's tick that started the run; None for other runs. The tick covers [interval_start,
    #: interval_end).
    scheduled_at: datetime | None = None
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    #: Whoever watches the attempt is told here; see `heartbeat`.
    beat: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    #: Whoever takes what the attempt asks for; see `spawn`.
    spawner: Callable[[Any, Mapping[str, Any]], None] | None = field(default=None, repr=False, compare=False)

    def spawn(self, task: Any, /, **arguments: Any) -> None:
        """Ask for a task run of `task`, one of this task's `spawns=`, with these arguments.

        It is recorded with the success of this attempt and starts after it; an attempt that fails asked for
        nothing. Raises `TypeError` for another task, or arguments that do not fit it or are no JSON values.
        """
        if self.spawner is None:
            raise TypeError("this task has no spawns=; list there what it may ask for")
        self.spawner(task, arguments)

    def heartbeat(self) -> None:
        """Tell that the attempt is alive, where the task has a `heartbeat`; cheap, and can be called from any thread.

        An attempt that is silent for longer than its `heartbeat` is stopped and has failed with `HeartbeatLost`.
        """
        if self.beat is not None:
            self.beat()


#: What an annotation that cannot be evaluated (imported for type checkers only) must look like to be ours.
_WRITTEN = re.compile(
    r"(?:\w+\.)*Context(?:\s*\|\s*None)?"
    r"|None\s*\|\s*(?:\w+\.)*Context"
    r"|(?:\w+\.)*Optional\[\s*(?:\w+\.)*Context\s*\]"
)


def find_context_parameters(function: Callable[..., Any], signature: inspect.Signature) -> list[str]:
    """Names of the parameters of `function` that are annotated `Context` or `Context | None`."""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return [name for name, one in signature.parameters.items() if _is_context(one.annotation, names)]


def _is_context(annotation: Any, names: Mapping[str, Any]) -> bool:
    if isinstance(annotation, str):
        if "Context" not in annotation and not _may_be_alias(annotation, names):
            return False
        try:
            # The text is the user's own annotation, evaluated where the interpreter itself would evaluate it.
            annotation = eval(annotation, dict(names))  # noqa: S307
        except Exception:
            return _WRITTEN.fullmatch(annotation.strip()) is not None
    if annotation is Context:
        return True
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(one is Context for one in typing.get_args(annotation))
    return False


def _may_be_alias(annotation: str, names: Mapping[str, Any]) -> bool:
    """Whether a word of `annotation` names our `Context` under another name (`import Context as C`)."""
    return any(names.get(word) is Context for word in re.findall(r"\w+", annotation))
