"""A task's result or error as an outcome: the one place where what user code returns or raises becomes data."""

from __future__ import annotations

import traceback
from typing import Any

import orjson
import pydantic

from tidemill.errors import DoNotRetry, RetryAfter
from tidemill.runs.attempts import Attempt, Outcome, OutcomeKind

__all__ = ["cancelled", "failed", "succeeded", "timed_out"]

_NULL = b"null"
#: Frames kept of a traceback, and the longest message, so that one failure cannot fill the disk.
_FRAMES = 20
_MESSAGE = 4096
_TRACEBACK = 16_384


def succeeded(attempt: Attempt, result: Any, max_bytes: int) -> Outcome:
    """The task returned; a result that is not JSON or too large is a failure that no retry mends."""
    if result is None:
        return Outcome(attempt.run_id, attempt.index, attempt.number, OutcomeKind.SUCCEEDED)
    try:
        text = orjson.dumps(result, default=_to_json)
    except Exception as error:  # TypeError, and whatever the value's own conversion raises
        reason = _text_of(error.__cause__ or error)
        return _failure(
            attempt, "ResultNotJson", f"{reason}; return JSON values or pydantic models", permanent=True
        )
    if len(text) > max_bytes:
        detail = (
            f"the result has {len(text)} bytes and max_result_bytes is {max_bytes}; store it and return where"
        )
        return _failure(attempt, "ResultTooLarge", detail, permanent=True)
    return Outcome(attempt.run_id, attempt.index, attempt.number, OutcomeKind.SUCCEEDED, text)


def failed(attempt: Attempt, error: BaseException) -> Outcome:
    """The task raised."""
    shown = "".join(traceback.format_exception(error, limit=-_FRAMES))
    return Outcome(
        attempt.run_id,
        attempt.index,
        attempt.number,
        OutcomeKind.FAILED,
        error_type=type(error).__name__,
        message=_text_of(error),
        traceback=_clean(shown)[-_TRACEBACK:],
        permanent=isinstance(error, DoNotRetry),
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


def _failure(attempt: Attempt, kind: str, message: str, *, permanent: bool = False) -> Outcome:
    return Outcome(
        attempt.run_id,
        attempt.index,
        attempt.number,
        OutcomeKind.FAILED,
        error_type=kind,
        message=message,
        permanent=permanent,
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
