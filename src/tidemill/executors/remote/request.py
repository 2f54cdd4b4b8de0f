"""What crosses to a worker and back, as bytes: references to tasks with their inputs; what came of them.

All are one line of JSON, then what most readers need not parse: after a request the bundle of its version (when the
worker may not have it), after a reply the result. Constants of the definition never cross: the worker loads the same
version and makes the arguments itself. Many attempts in one request are in `pack_request`.
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
    "MISSING",
    "Item",
    "Limits",
    "Line",
    "Reply",
    "Spent",
    "decode_outcome",
    "decode_reply",
    "encode_failure",
    "encode_missing",
    "encode_reply",
    "encode_request",
    "encode_task",
    "make_item",
]

#: Version of these forms: node and worker must have the same one.
CONTRACT = 3

#: In place of a kind of outcome: the worker does not have the bundle.
MISSING = "missing"
_MISSING = b'{"kind":"missing"}\n'

#: One attempt of a task: run, number, parameters as a text (numbers that JSON readers would round arrive as they were
#: stored), results by index, event; index and name of the task run, and its own arguments where it is one of a map.
Item = tuple[str, int, str, Mapping[str, Any], Any, int, str, Any]
#: Arguments of a map are JSON: what would arrive as something else is refused.
_JSON_ONLY = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)


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


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt took, in seconds."""

    #: In the task, on the worker.
    seconds: float
    #: Of a processor there.
    cpu_seconds: float
    #: Everything else: queues, the way there and back.
    waiting_seconds: float


@dataclass(slots=True)
class Reply:
    """What a worker tells beside the outcome."""

    lines: Sequence[Line] = ()
    #: Lines that were left out.
    dropped: int = 0
    seconds: float = 0.0
    #: Of the thread that called the function; 0 for coroutines that shared it with others.
    cpu_seconds: float = 0.0
    #: Host and process.
    worker: str = ""
    outcome: Outcome | None = field(default=None)


def encode_task(attempt: Attempt, limits: Limits, *, bundle: Bundle, sets_environment: bool) -> bytes:
    """What is the same for all attempts of a task of one version, as JSON.

    `sets_environment`: the worker sets the task's variables, because the engine cannot.
    """
    node = attempt.node
    task: dict[str, Any] = {
        "dag": attempt.dag.dag_id,
        "version": attempt.dag.version,
        "file": attempt.dag.file,
        "bundle": bundle.digest,
        "index": node.index,
        "max_result_bytes": limits.max_result_bytes,
        "claim_check_url": limits.claim_check_url,
        "claim_check_bytes": limits.claim_check_bytes,
    }
    if sets_environment and node.resources.env_vars:
        task["env_vars"] = dict(node.resources.env_vars)
    return orjson.dumps(task)


def make_item(attempt: Attempt) -> Item:
    """What is this attempt's own, ready for JSON."""
    inputs, node = attempt.inputs, attempt.node
    assert inputs is not None  # noqa: S101 - tasks of remote executors are deferred
    event = None
    if node.context_parameter is not None and inputs.event is not None:
        event = orjson.Fragment(json_format.encode(inputs.event))
    results = {str(index): orjson.Fragment(inputs.results.get(index, b"null")) for index in node.reads}
    own = None if inputs.item is None else orjson.Fragment(orjson.dumps(inputs.item, option=_JSON_ONLY))
    parameters = inputs.parameters.decode()
    return attempt.run_id, attempt.number, parameters, results, event, attempt.index, attempt.task_id, own


def encode_request(attempt: Attempt, task: bytes) -> bytes:
    """One attempt without its bundle, which may follow as it is."""
    head = {
        "contract": CONTRACT,
        "attempt_id": f"{attempt.run_id}/{attempt.task_id}/{attempt.number}",
        "task": orjson.Fragment(task),
        "item": make_item(attempt),
    }
    return orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE)


def encode_missing() -> bytes:
    """The worker does not have the bundle; nothing was called."""
    return _MISSING


def encode_reply(outcome: Outcome, reply: Reply) -> bytes:
    """What came of an attempt."""
    head = encode_failure(outcome, reply) | {"worker": reply.worker}
    return orjson.dumps(head) + b"\n" + outcome.result


def encode_failure(outcome: Outcome, reply: Reply) -> dict[str, Any]:
    """What came of an attempt but for its result; also of one that succeeded."""
    head: dict[str, Any] = {"kind": outcome.kind, "seconds": reply.seconds, "cpu": reply.cpu_seconds}
    if reply.lines:
        head["lines"] = [(line.level, line.text) for line in reply.lines]
        head["dropped"] = reply.dropped
    if outcome.kind is not OutcomeKind.SUCCEEDED:
        head["error_type"] = outcome.error_type
        head["message"] = outcome.message
        head["traceback"] = outcome.traceback
        head["permanent"] = outcome.permanent
        head["retry_after"] = outcome.retry_after
    return head


def decode_reply(attempt: Attempt, body: bytes) -> Reply | None:
    """What a worker answered about this attempt; None when it needs the bundle first."""
    if body == _MISSING:
        return None
    line, _, result = body.partition(b"\n")
    head: Mapping[str, Any] = orjson.loads(line)
    return decode_outcome(attempt, head, result, worker=head["worker"])


def decode_outcome(attempt: Attempt, head: Mapping[str, Any], result: bytes, *, worker: str) -> Reply:
    """What `encode_failure` made one of."""
    outcome = Outcome(
        attempt.run_id,
        attempt.index,
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
    return Reply(lines, head.get("dropped", 0), head["seconds"], head["cpu"], worker, outcome)
