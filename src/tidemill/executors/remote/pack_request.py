"""Many small attempts in one request, and their replies in one: what they have in common crosses once.

A request is one JSON object: attempts by task, and the bundles that the worker may not have. A reply is one line of
JSON with an entry per attempt in the same order, then all results one behind the other. An entry is the seconds, those
of the processor and the size of the result, or an object when there is more to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tidemill.executors.remote.bundle import Bundle
from tidemill.executors.remote.request import (
    CONTRACT,
    MISSING,
    Item,
    Reply,
    decode_outcome,
    encode_failure,
)
from tidemill.runs.attempts import Attempt, Outcome, OutcomeKind

__all__ = ["PackReplies", "decode_pack", "encode_pack", "refuse_pack"]


def encode_pack(groups: Mapping[bytes, Sequence[Item]], bundles: Sequence[Bundle]) -> bytes:
    """Attempts by what `encode_task` says of their task."""
    return orjson.dumps(
        {
            "contract": CONTRACT,
            "groups": [(orjson.Fragment(task), items) for task, items in groups.items()],
            "bundles": {bundle.digest: bundle.text.decode() for bundle in bundles},
        }
    )


class PackReplies:
    """Replies of one request, gathered on the worker."""

    def __init__(self, count: int) -> None:
        self._entries: list[Any] = [None] * count
        self._results: list[bytes] = [b""] * count

    def set(self, place: int, outcome: Outcome, reply: Reply) -> None:
        """What came of the attempt at this place."""
        self._results[place] = outcome.result
        if outcome.kind is OutcomeKind.SUCCEEDED and not reply.lines:
            self._entries[place] = (reply.seconds, reply.cpu_seconds, len(outcome.result))
        else:
            self._entries[place] = encode_failure(outcome, reply) | {"size": len(outcome.result)}

    def set_missing(self, place: int) -> None:
        """Nothing was called: the worker does not have the bundle."""
        self._entries[place] = {"kind": MISSING, "size": 0}

    def encode(self, worker: str) -> bytes:
        """All of them."""
        head = orjson.dumps({"worker": worker, "entries": self._entries}, option=orjson.OPT_APPEND_NEWLINE)
        return b"".join((head, *self._results))


def refuse_pack(kind: str, message: str) -> bytes:
    """Nothing of the request can be made."""
    return orjson.dumps({"refused": kind, "message": message}, option=orjson.OPT_APPEND_NEWLINE)


def decode_pack(attempts: Sequence[Attempt], body: bytes) -> Iterator[Reply | None]:
    """The reply to each attempt; None for one whose bundle is missing."""
    end = body.index(b"\n")
    head: Mapping[str, Any] = orjson.loads(memoryview(body)[:end])
    if "refused" in head:
        refused = {
            "kind": OutcomeKind.FAILED,
            "seconds": 0.0,
            "cpu": 0.0,
            "error_type": head["refused"],
            "message": head["message"],
            "permanent": True,
        }
        for attempt in attempts:
            yield decode_outcome(attempt, refused, b"null", worker="")
        return
    worker: str = head["worker"]
    place = end + 1
    for attempt, entry in zip(attempts, head["entries"], strict=True):
        if type(entry) is list:
            seconds, cpu, size = entry
            outcome = Outcome(
                attempt.run_id,
                attempt.index,
                attempt.number,
                OutcomeKind.SUCCEEDED,
                body[place : place + size],
            )
            place += size
            yield Reply((), 0, seconds, cpu, worker, outcome)
        elif entry["kind"] == MISSING:
            yield None
        else:
            result = body[place : place + entry["size"]]
            place += entry["size"]
            yield decode_outcome(attempt, entry, result, worker=worker)
