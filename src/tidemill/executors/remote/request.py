"""What crosses to a worker and back, as bytes: a reference to a task with its inputs; what came of it.

Both are one line of JSON, then what most readers need not parse: after a request the bundle of its version (when the
worker may not have it), after a reply the result. Constants of the definition never cross: the worker loads the same
version and makes the arguments itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.events import json_format
from tidemill.executors.remote.bundle import Bundle
from tidemill.runs.attempts import Attempt, Outcome, OutcomeKind

__all__ = [
    "CONTRACT",
    "Limits",
    "Line",
    "Reply",
    "decode_reply",
    "encode_missing",
    "encode_reply",
    "encode_request",
]

#: Version of these forms: node and worker must have the same one.
CONTRACT = 1

_MISSING = b'{"kind":"missing"}\n'


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a result may be, and where larger ones go."""

    max_result_bytes: int
    claim_check_url: str | None = None
    claim_check_bytes: int = 1 << 16


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a task wrote or logged."""

    level: str
    text: str


@dataclass(slots=True)
class Reply:
    """What a worker tells beside the outcome."""

    lines: Sequence[Line] = ()
    #: Lines that were left out.
    dropped: int = 0
    seconds: float = 0.0
    #: Host and process.
    worker: str = ""
    outcome: Outcome | None = field(default=None)


def encode_request(attempt: Attempt, limits: Limits, *, bundle: Bundle, sets_environment: bool) -> bytes:
    """The attempt without its bundle, which may follow as it is.

    `sets_environment`: the worker sets the task's variables, because the engine cannot.
    """
    inputs, node = attempt.inputs, attempt.node
    assert inputs is not None  # noqa: S101 - tasks of remote executors are deferred
    event = None
    if node.context_parameter is not None and inputs.event is not None:
        event = orjson.Fragment(json_format.encode(inputs.event))
    head = {
        "contract": CONTRACT,
        "dag": attempt.dag.dag_id,
        "version": attempt.dag.version,
        "file": attempt.dag.file,
        "bundle": bundle.digest,
        "index": node.index,
        "run": attempt.run_id,
        "attempt": attempt.number,
        "attempt_id": f"{attempt.run_id}/{node.task_id}/{attempt.number}",
        "idempotency_key": f"{attempt.run_id}/{node.task_id}",
        # As a text: numbers that JSON readers would round arrive as they were stored.
        "parameters": inputs.parameters.decode(),
        "results": {str(index): orjson.Fragment(inputs.results[index]) for index in node.reads},
        "event": event,
        "max_result_bytes": limits.max_result_bytes,
        "claim_check_url": limits.claim_check_url,
        "claim_check_bytes": limits.claim_check_bytes,
    }
    if sets_environment and node.resources.env_vars:
        head["env_vars"] = dict(node.resources.env_vars)
    return orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE)


def encode_missing() -> bytes:
    """The worker does not have the bundle; nothing was called."""
    return _MISSING


def encode_reply(outcome: Outcome, reply: Reply) -> bytes:
    """What came of an attempt."""
    head: dict[str, Any] = {"kind": outcome.kind, "seconds": reply.seconds, "worker": reply.worker}
    if reply.lines:
        head["lines"] = [(line.level, line.text) for line in reply.lines]
        head["dropped"] = reply.dropped
    if outcome.kind is not OutcomeKind.SUCCEEDED:
        head["error_type"] = outcome.error_type
        head["message"] = outcome.message
        head["traceback"] = outcome.traceback
        head["permanent"] = outcome.permanent
        head["retry_after"] = outcome.retry_after
    return orjson.dumps(head) + b"\n" + outcome.result


def decode_reply(attempt: Attempt, body: bytes) -> Reply | None:
    """What a worker answered about this attempt; None when it needs the bundle first."""
    if body == _MISSING:
        return None
    line, _, result = body.partition(b"\n")
    head: Mapping[str, Any] = orjson.loads(line)
    outcome = Outcome(
        attempt.run_id,
        attempt.node.index,
        attempt.number,
        OutcomeKind(head["kind"]),
        result=result,
        error_type=head.get("error_type", ""),
        message=head.get("message", ""),
        traceback=head.get("traceback", ""),
        permanent=head.get("permanent", False),
        retry_after=head.get("retry_after"),
    )
    lines = [Line(level, text) for level, text in head.get("lines", ())]
    return Reply(lines, head.get("dropped", 0), head["seconds"], head["worker"], outcome)
