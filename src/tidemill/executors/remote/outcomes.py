"""Failures that are ours to word: those of the engine and of what surrounds a task, not of its function."""

from __future__ import annotations

from tidemill.runs.attempts import Attempt, Outcome, OutcomeKind

__all__ = ["ClusterFailure", "failure"]

_MESSAGE = 4096


class ClusterFailure(Exception):  # noqa: N818 - becomes the failure of an attempt
    """The engine could not make an attempt; `permanent` when no further attempt can help."""

    def __init__(self, kind: str, message: str, *, permanent: bool = False) -> None:
        self.kind = kind
        self.permanent = permanent
        super().__init__(message)


def failure(
    attempt: Attempt | tuple[str, int, int], kind: str, message: str, *, permanent: bool = False
) -> Outcome:
    """The attempt (or its run, index and number) failed for a reason that is not the task's."""
    if isinstance(attempt, Attempt):
        permanent = permanent or attempt.node.retry.gives_up_on_kind(kind)
        attempt = (attempt.run_id, attempt.index, attempt.number)
    return Outcome(
        *attempt,
        OutcomeKind.FAILED,
        error_type=kind,
        message=message[:_MESSAGE].encode("utf-8", "backslashreplace").decode(),
        permanent=permanent,
    )
