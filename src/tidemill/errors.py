"""Every error Tidemill raises, grouped by who must act.

The message of an error is built from its facts here, says what happened and what to do, starts in lower case
and carries no trailing full stop. Facts are attributes, so that callers decide on facts and never on texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

__all__ = [
    "REJECTION_STATUS",
    "CpuTimeExceeded",
    "CursorMoved",
    "DefinitionError",
    "DiskFull",
    "DoNotRetry",
    "EventRejected",
    "HeartbeatLost",
    "InvalidTransition",
    "MemoryExceeded",
    "NotFound",
    "Overloaded",
    "Problem",
    "ProjectLocked",
    "RetryAfter",
    "SchemaViolation",
    "SettingsError",
    "ShardLost",
    "SinkRefused",
    "SinkUnavailable",
    "Skip",
    "StateConflict",
    "StorageError",
    "StoreUnavailable",
    "TaskError",
    "TaskFailed",
    "TaskTimedOut",
    "TidemillError",
    "WorkerLost",
    "problem_document",
]


class TidemillError(Exception):
    """Root of all errors that Tidemill raises; never raised itself."""


# ── the user's files must change ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one definition file."""

    #: Path relative to the project folder.
    file: str
    #: Line, from 1; 0 when the problem belongs to the whole file.
    line: int
    #: What is wrong and what would be right, in one sentence without a full stop.
    message: str
    #: Column, from 1; 0 when unknown.
    column: int = 0
    #: Id of the rule that it breaks (`tidemill validate` names it); empty for the file's general one.
    rule: str = field(default="", compare=False)

    def __str__(self) -> str:
        place = self.file if not self.line else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


class DefinitionError(TidemillError):
    """The project's definitions are refused whole; `problems` holds every problem of every file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsError(TidemillError):
    """A setting is missing, unknown or out of range; the service does not start (exit code 2)."""


class ProjectLocked(TidemillError):
    """Another process works on this project's state; stop it, or point it at another folder."""


# ── the producer of an event must act ─────────────────────────────────────────────────────────────────────

#: HTTP status per rejection code. Kafka and files have no status: the same code goes into a dead letter.
REJECTION_STATUS: dict[str, int] = {
    "invalid_json": 400,
    "invalid_unicode": 400,
    "invalid_encoding": 400,
    "duplicate_key": 400,
    "json_too_deep": 400,
    "number_out_of_range": 400,
    "invalid_cloudevent": 400,
    "unsupported_specversion": 400,
    "reserved_type": 400,
    "reserved_extension": 400,
    "unauthorized": 401,
    "signature_missing": 401,
    "signature_invalid": 401,
    "timestamp_out_of_window": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "id_reused": 409,
    "payload_too_large": 413,
    "batch_too_large": 413,
    "unsupported_media_type": 415,
    "unsupported_content_encoding": 415,
    "invalid_parameters": 422,
    "mapping_failed": 422,
    "digest_mismatch": 422,
    "invalid_manifest": 422,
    "schema_violation": 422,
    "rate_limited": 429,
    "backlog_full": 429,
    "headers_too_large": 431,
    "store_unavailable": 503,
    "source_paused": 503,
    "disk_full": 507,
}


def problem_document(status: int, code: str, detail: str, **members: object) -> dict[str, object]:
    """The body of every HTTP error answer (RFC 9457): `code` is what a program decides on; None members are left out.

    `type` stays `about:blank`, so `title` is the status phrase, as the RFC asks for.
    """
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    document.update((name, value) for name, value in members.items() if value is not None)
    return document


class EventRejected(TidemillError):
    """One event is refused and nothing of it is stored.

    `code` is a key of `REJECTION_STATUS`; `attribute` names the offending attribute or JSON pointer where there
    is one; `index` is the place in a batch. The producer must correct the event; sending it again unchanged is
    refused again.
    """

    def __init__(
        self, code: str, detail: str, *, attribute: str | None = None, index: int | None = None
    ) -> None:
        self.code = code
        self.detail = detail
        self.attribute = attribute
        self.index = index
        super().__init__(detail)

    @property
    def status(self) -> int:
        """The HTTP status that answers this code."""
        return REJECTION_STATUS[self.code]

    def at(self, index: int) -> EventRejected:
        """The same refusal, placed at `index` of a batch."""
        return EventRejected(self.code, self.detail, attribute=self.attribute, index=index)


class SchemaViolation(EventRejected):
    """The event's data does not follow its schema (code `schema_violation`).

    `places` holds the first few violations as (JSON pointer into the event, what is wrong there); values of the
    data are in none of them.
    """

    def __init__(self, schema: str, places: Sequence[tuple[str, str]], *, index: int | None = None) -> None:
        self.schema = schema
        self.places = tuple(places)
        pointer, message = self.places[0]
        super().__init__(
            "schema_violation",
            f"the data does not follow {schema}: {message}",
            attribute=pointer,
            index=index,
        )

    def at(self, index: int) -> SchemaViolation:
        """The same refusal, placed at `index` of a batch."""
        return SchemaViolation(self.schema, self.places, index=index)


class Overloaded(TidemillError):
    """A limit of backlog, memory or disk is reached; nothing was stored; try again after `retry_after` seconds."""

    def __init__(self, code: str, detail: str, *, retry_after: int) -> None:
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(detail)


# ── the user's task must act ──────────────────────────────────────────────────────────────────────────────


class TaskError(TidemillError):
    """A task attempt did not succeed; its retry policy decides what follows."""


class TaskFailed(TaskError):
    """The task raised; `error_type` and `message` say what, `traceback` where."""

    def __init__(self, error_type: str, message: str, traceback: str = "") -> None:
        self.error_type = error_type
        self.message = message
        self.traceback = traceback
        super().__init__(f"{error_type}: {message}")


class TaskTimedOut(TaskError):
    """The attempt ran longer than its `timeout`."""


class HeartbeatLost(TaskError):
    """The attempt was silent for longer than its `heartbeat`, and was stopped."""


class MemoryExceeded(TaskError, MemoryError):
    """The attempt needed more memory than its process may have; give `memory=` or `process_memory`."""


class CpuTimeExceeded(TaskError):
    """The attempt used more processor time than its process may have (`process_cpu_seconds`)."""


class WorkerLost(TaskError):
    """The process that made the attempt died under it: by a signal, or by ending itself."""


# ── signals that a user's task raises ─────────────────────────────────────────────────────────────────────


class RetryAfter(Exception):
    """Raised by a task: this attempt failed, try again after `seconds` (counts as an attempt)."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        self.seconds = float(seconds)
        self.reason = reason
        super().__init__(reason or f"retry after {seconds} s")


class DoNotRetry(Exception):
    """Raised by a task: this attempt failed and no further attempt can help."""


class Skip(Exception):
    """Raised by a task: there is nothing to do; it is skipped, and so is what follows by its trigger rule."""


# ── the surroundings: retryable ───────────────────────────────────────────────────────────────────────────


class StorageError(TidemillError):
    """The store could not do what was asked; nothing of the transaction is on disk unless said otherwise."""


class StoreUnavailable(StorageError):
    """The commit failed or its answer was lost; whoever asked must ask again (identities make that safe)."""


class DiskFull(StoreUnavailable):
    """The disk has no room; nothing was stored."""


class CursorMoved(StorageError):
    """Somebody else moved this cursor: the batch is refused whole; read the cursor again and continue there."""

    def __init__(self, name: str, expected: str | None, found: str | None) -> None:
        self.name = name
        self.expected = expected
        self.found = found
        super().__init__(f"cursor {name} stands at {found!r}, not at {expected!r}; read it again")


class ShardLost(StorageError):
    """Another node works on these shards, or this one lost them: nothing was written; drop what belongs to them."""

    def __init__(self, shards: frozenset[int]) -> None:
        self.shards = shards
        super().__init__(f"shards {', '.join(map(str, sorted(shards)[:8]))} are not ours any more")


class SinkUnavailable(TidemillError):
    """A receiver could not be reached or asked us to come back; `retry_after` seconds when it said so."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
        super().__init__(reason)


class SinkRefused(TidemillError):
    """A receiver refused this delivery for good (`gone`: and every later one)."""

    def __init__(self, reason: str, *, status: int | None = None, gone: bool = False) -> None:
        self.reason = reason
        self.status = status
        self.gone = gone
        super().__init__(reason)


# ── the caller of the API must act ────────────────────────────────────────────────────────────────────────


class NotFound(TidemillError):
    """There is no such thing; `kind` and `name` say which."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"there is no {kind} {name!r}")


class StateConflict(TidemillError):
    """What was asked does not fit the present state (cancelling a run that has ended, for example)."""


# ── ourselves: a bug ──────────────────────────────────────────────────────────────────────────────────────


class InvalidTransition(TidemillError):
    """A record does not fit the state of its run: a bug in Tidemill, or a history that was tampered with."""

    def __init__(self, run_id: str, record: str, state: str) -> None:
        self.run_id = run_id
        self.record = record
        self.state = state
        super().__init__(f"record {record} does not fit state {state} of run {run_id}")
