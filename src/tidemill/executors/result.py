"""A task's result or error as an outcome: the one place where what user code returns or raises becomes data."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import Any

import orjson
import pydantic

from tidemill.dag.policy import DEFAULT_POLICY
from tidemill.dag.serializers import JSON_RESULT, find_serializer
from tidemill.errors import DoNotRetry, RetryAfter, Skip
from tidemill.runs.attempts import Attempt, Outcome, OutcomeKind
from tidemill.runs.records import trimmed

__all__ = ["cancelled", "failed", "heartbeat_lost", "succeeded", "timed_out", "too_large"]

_NULL = b"null"
#: Frames kept of a traceback, and the longest message, so that one failure cannot fill the disk.
_FRAMES = 20
_MESSAGE = 4096
_TRACEBACK = 16_384


def succeeded(attempt: Attempt, result: Any, max_bytes: int) -> Outcome:
    """The task returned; a result that is not JSON or too large is a failure that no retry mends."""
    if result is None:
        return _with_spawned(
            attempt, Outcome(attempt.run_id, attempt.index, attempt.number, OutcomeKind.SUCCEEDED)
        )
    try:
        policy = attempt.node.policy
        if policy is not DEFAULT_POLICY and policy.result != JSON_RESULT:
            result = find_serializer(policy.result).encode(result, attempt.node.function)
        text = orjson.dumps(result, default=_to_json)
    except Exception as error:  # TypeError, and whatever the value's own conversion raises
        reason = _text_of(error.__cause__ or error)
        return _failure(
            attempt, "ResultNotJson", f"{reason}; return JSON values or pydantic models", permanent=True
        )
    if len(text) > max_bytes:
        return too_large(attempt, len(text), max_bytes)
    outcome = Outcome(attempt.run_id, attempt.index, attempt.number, OutcomeKind.SUCCEEDED, trimmed(text))
    return _with_spawned(attempt, outcome)


def too_large(attempt: Attempt, size: int, max_bytes: int) -> Outcome:
    """The result has more bytes than are kept where the run is."""
    detail = f"the result has {size} bytes and max_result_bytes is {max_bytes}; store it and return where"
    return _failure(attempt, "ResultTooLarge", detail, permanent=True)


def _with_spawned(attempt: Attempt, outcome: Outcome) -> Outcome:
    if attempt.spawned is not None:
        outcome.spawned = attempt.spawned.calls
    return outcome


def failed(attempt: Attempt, error: BaseException) -> Outcome:
    """The task raised."""
    if isinstance(error, Skip):
        return Outcome(
            attempt.run_id, attempt.index, attempt.number, OutcomeKind.SKIPPED, message=_text_of(error)
        )
    shown = "".join(traceback.format_exception(error, limit=-_FRAMES))
    return Outcome(
        attempt.run_id,
        attempt.index,
        attempt.number,
        OutcomeKind.FAILED,
        error_type=type(error).__name__,
        message=_text_of(error),
        traceback=_clean(shown)[-_TRACEBACK:],
        permanent=isinstance(error, DoNotRetry)
        or (attempt.node.retry.gives_up_on(error) and not _asks_for_more(attempt, error)),
        retry_after=error.seconds if isinstance(error, RetryAfter) else None,
    )


def cancelled(attempt: Attempt) -> Outcome:
    """The attempt stopped because it was asked to."""
    return Outcome(attempt.run_id, attempt.index, attempt.number, OutcomeKind.CANCELLED)


def timed_out(attempt: Attempt) -> Outcome:
    """The attempt ran longer than its timeout."""
    assert attempt.node.timeout is not None  # noqa: S101 - only attempts with a timeout get here
    seconds = attempt.node.timeout.total_seconds()
    return _failure(attempt, "TaskTimedOut", f"the attempt ran longer than its timeout of {seconds:g} s")


def heartbeat_lost(attempt: Attempt) -> Outcome:
    """The attempt was silent for longer than its heartbeat."""
    assert attempt.node.policy.heartbeat is not None  # noqa: S101 - only attempts with one get here
    seconds = attempt.node.policy.heartbeat.total_seconds()
    return _failure(
        attempt, "HeartbeatLost", f"the attempt was silent for longer than its heartbeat of {seconds:g} s"
    )


def _asks_for_more(attempt: Attempt, error: BaseException) -> bool:
    """It asks for a further attempt by itself, and nothing names it as hopeless."""
    return isinstance(error, RetryAfter) and not replace(attempt.node.retry, retry_on=()).gives_up_on(error)


def _failure(attempt: Attempt, kind: str, message: str, *, permanent: bool = False) -> Outcome:
    return Outcome(
        attempt.run_id,
        attempt.index,
        attempt.number,
        OutcomeKind.FAILED,
        error_type=kind,
        message=message,
        permanent=permanent or attempt.node.retry.gives_up_on_kind(kind),
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # the user's own class
        text = f"(its text cannot be made: {type(broken).__name__})"
    return _clean(text[:_MESSAGE])


def _clean(text: str) -> str:
    """Lone surrogates cannot be stored as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
