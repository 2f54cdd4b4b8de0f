"""The seam between engine and executors: one attempt to be made, and what came of it.

An executor decides nothing: no retry, no order, no state. The engine hands it attempts whose start is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tidemill.dag.definition import Dag, TaskNode
from tidemill.events.event import Event
from tidemill.runs.spawning import Spawned

__all__ = ["Attempt", "Executor", "Inputs", "Outcome", "OutcomeKind"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the arguments of a deferred task are made of; see `arguments.make_arguments`."""

    #: JSON texts of results by index. The run goes on changing it: take what is needed in `start`.
    results: Mapping[int, bytes]
    #: JSON text.
    parameters: bytes
    #: The event that started the run, where a task of the DAG asks for its context.
    event: Event | None = None
    #: Its own arguments by name, where it is one of a map.
    item: Mapping[str, Any] | None = None


@dataclass(slots=True, eq=False)
class Attempt:
    """One call of one task of one run."""

    run_id: str
    #: The version that the run began with.
    dag: Dag
    node: TaskNode
    #: From 1.
    number: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    #: For a deferred task, in place of `args` and `kwargs`, which are empty then.
    inputs: Inputs | None = None
    #: What it asks to be added to the run, where its task may ask for anything.
    spawned: Spawned | None = None
    #: Which task run of the run this is: the node's index, or one beyond all nodes for a mapped task run.
    index: int = -1
    #: Its name in histories: the node's, with the place in brackets for a mapped task run.
    task_id: str = ""

    def __post_init__(self) -> None:
        if self.index < 0:
            self.index = self.node.index
            self.task_id = self.node.task_id


class OutcomeKind(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: The task raised `Skip`; `message` says why.
    SKIPPED = "skipped"


@dataclass(slots=True, eq=False)
class Outcome:
    """What an attempt returned or raised."""

    run_id: str
    index: int
    number: int
    kind: OutcomeKind
    #: The result as JSON text, for SUCCEEDED.
    result: bytes = b"null"
    #: Type name, message and traceback, for FAILED.
    error_type: str = ""
    message: str = ""
    traceback: str = ""
    #: The task said that no further attempt can help.
    permanent: bool = False
    #: The task (or its timeout) asked for this delay in seconds before the next attempt.
    retry_after: float | None = None
    #: Task runs that it asks for, with their arguments as JSON text, for SUCCEEDED.
    spawned: Sequence[tuple[str, bytes]] = ()


class Executor(Protocol):
    """A way to run attempts."""

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        """Begin the attempt and return at once; `report` is called exactly once, in the event loop."""

    def cancel(self, run_id: str, index: int) -> None:
        """Ask a running attempt to stop; its outcome is still reported. Unknown attempts are ignored."""

    async def close(self) -> None:
        """Cancel what runs and wait until it has ended, as far as it can be ended.

        Outcomes are not reported from here on: attempts that are cut off are lost, and begin again after a restart.
        """
