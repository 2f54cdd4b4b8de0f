"""Identities: new types, and how ids are made.

A run's id is derived, not drawn: the same trigger and the same event give the same run id whatever is redelivered
or restarted, so that the primary key itself refuses a second run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import NewType

import uuid_utils

__all__ = ["SHARDS", "AttemptId", "RunId", "TaskId", "attempt_id", "made_by", "new_id", "run_id", "shard_of"]

RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
AttemptId = NewType("AttemptId", str)


#: Number of shards; fixed for ever, since it decides which rows belong together.
SHARDS = 256


#: Makes ids in place of the machine's clock and chance, for whoever runs in this context.
_maker: ContextVar[Callable[[], str] | None] = ContextVar("maker", default=None)


def new_id() -> str:
    """A new id that sorts by time of making (UUID version 7, RFC 9562)."""
    maker = _maker.get()
    return str(uuid_utils.uuid7()) if maker is None else maker()


@contextmanager
def made_by(maker: Callable[[], str]) -> Iterator[None]:
    """`new_id` gives what `maker` makes, in this context and in what is begun in it: virtual time has its own ids."""
    token = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(token)


def run_id(trigger: str, source: str, event_id: str, at_us: int) -> RunId:
    """The id of the run that `trigger` starts for the event (`source`, `event_id`) received at `at_us`.

    Laid out as a UUID version 7: the time in milliseconds, then 74 bits of a hash in place of randomness.
    """
    digest = blake2b(f"{trigger}\0{source}\0{event_id}".encode(), digest_size=10).digest()
    value = (at_us // 1000 & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(digest, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return RunId(str(uuid.UUID(int=value)))


def shard_of(key: str) -> int:
    """The shard, from 0 to `SHARDS` - 1, that everything named `key` belongs to; the same on every node for ever."""
    return blake2b(key.encode("utf-8", "backslashreplace"), digest_size=1).digest()[0]


def attempt_id(run: str, task: str, attempt: int) -> AttemptId:
    """The id of one attempt (from 1) of one task of one run."""
    return AttemptId(f"{run}/{task}/{attempt}")
