"""How the HTTP sources answer: hand-built ASGI messages, so that the hot path makes no response objects.

What is refused and why is decided elsewhere; here a refusal becomes an RFC 9457 document. Text that came from
outside appears only inside JSON strings, under `nosniff`, and never in a header.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

import orjson

from tidemill.errors import (
    REJECTION_STATUS,
    DiskFull,
    EventRejected,
    Overloaded,
    SchemaViolation,
    StorageError,
    problem_document,
)
from tidemill.storage.contract import Appended, EventLog

__all__ = [
    "BatchRejected",
    "Headers",
    "Receive",
    "Scope",
    "Send",
    "check_overload",
    "check_paused",
    "encode_batch",
    "encode_one",
    "encode_outcome",
    "location",
    "send_answer",
    "send_bare",
    "send_failure",
    "send_made",
    "send_refusal",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")

#: When a producer should try again after the store failed, in seconds.
_STORE_RETRY_SECONDS = 1
_DISK_RETRY_SECONDS = 30
#: When a producer should come back to a source that somebody paused, in seconds.
_PAUSED_RETRY_SECONDS = 60

#: The one 2xx that says nothing of a body's length (RFC 9110, section 8.6).
_BODILESS = 204

#: Refusals after which bytes of the request may still be on their way: the connection is given up.
_CLOSING = frozenset({"payload_too_large", "batch_too_large", "request_timeout"})


class BatchRejected(EventRejected):
    """A batch is refused whole; `problems` holds the refusal of every event that is to blame."""

    def __init__(self, problems: Sequence[EventRejected]) -> None:
        first = problems[0]
        self.problems = tuple(problems)
        super().__init__(first.code, first.detail, attribute=first.attribute, index=first.index)


def check_overload(log: EventLog) -> None:
    """Raise `Overloaded` when the log has no room, before anything of a request is read."""
    retry_after = log.overload()
    if retry_after is not None:
        raise Overloaded("backlog_full", "the backlog is full; nothing was stored", retry_after=retry_after)


def check_paused(name: str, is_paused: Callable[[str], bool]) -> None:
    """Raise `Overloaded` while the source is paused: its sender keeps what it has and comes back."""
    if is_paused(name):
        raise Overloaded(
            "source_paused", "the source is paused; nothing was stored", retry_after=_PAUSED_RETRY_SECONDS
        )


def encode_one(appended: Appended) -> bytes:
    """The answer for one event, as JSON text."""
    if appended.duplicate:
        return b'{"position":%d,"duplicate":true}' % appended.position
    return b'{"position":%d,"duplicate":false}' % appended.position


def encode_batch(appended: Sequence[Appended]) -> bytes:
    """The answer for a batch, as JSON text."""
    return b'{"events":[%b]}' % b",".join([encode_one(each) for each in appended])


def encode_outcome(appended: Appended, runs: Sequence[Mapping[str, Any]]) -> bytes:
    """The answer for one event with the runs that it started, as JSON text."""
    return b'%b,"runs":%b}' % (encode_one(appended)[:-1], orjson.dumps(list(runs)))


def location(appended: Appended) -> tuple[bytes, bytes]:
    """The header field that says where to see what becomes of an event."""
    return (b"location", b"/api/v1/events/%d" % appended.position)


async def send_answer(send: Send, status: int, body: bytes, *, headers: Headers = ()) -> None:
    """Answer with JSON text."""
    fields = [_JSON, (b"content-length", b"%d" % len(body)), _NOSNIFF, *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def send_made(send: Send, status: int, body: bytes, *, headers: Headers) -> None:
    """Answer with a body whose content type is among `headers`."""
    fields = [_NOSNIFF, *headers]
    if status != _BODILESS:
        fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def send_bare(send: Send, status: int, headers: Headers) -> None:
    """Answer with header fields alone."""
    await send_made(send, status, b"", headers=headers)


async def send_refusal(
    send: Send, error: EventRejected | Overloaded | StorageError, *, headers: Headers = ()
) -> None:
    """Answer with what went wrong, and with when to come back where that can help."""
    match error:
        case EventRejected():
            document = _rejection(error)
            extra = (*headers, (b"connection", b"close")) if error.code in _CLOSING else tuple(headers)
        case Overloaded():
            document = problem_document(REJECTION_STATUS[error.code], error.code, error.detail)
            extra = (*headers, (b"retry-after", b"%d" % error.retry_after))
        case DiskFull():
            document = problem_document(507, "disk_full", "the disk has no room; nothing was stored")
            extra = (*headers, (b"retry-after", b"%d" % _DISK_RETRY_SECONDS))
        case _:
            document = problem_document(
                503, "store_unavailable", "the event could not be made durable; send it again"
            )
            extra = (*headers, (b"retry-after", b"%d" % _STORE_RETRY_SECONDS))
    await _send_problem(send, document, extra)


async def send_failure(send: Send) -> None:
    """Answer for a mistake of our own: no detail leaves the process, the log has it."""
    await _send_problem(send, problem_document(500, "internal_error", "the request failed; see the log"), ())


def _rejection(error: EventRejected) -> dict[str, object]:
    problems = None
    if isinstance(error, BatchRejected):
        problems = [
            _without_none(index=each.index, code=each.code, detail=each.detail, attribute=each.attribute)
            for each in error.problems
        ]
    elif isinstance(error, SchemaViolation):
        problems = [{"attribute": pointer, "detail": detail} for pointer, detail in error.places]
    return problem_document(
        error.status,
        error.code,
        error.detail,
        attribute=error.attribute,
        index=error.index,
        problems=problems,
    )


def _without_none(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


async def _send_problem(send: Send, document: dict[str, object], extra: Headers) -> None:
    body = orjson.dumps(document, default=str)
    headers = [_PROBLEM, (b"content-length", b"%d" % len(body)), _NOSNIFF, *extra]
    await send({"type": "http.response.start", "status": document["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
