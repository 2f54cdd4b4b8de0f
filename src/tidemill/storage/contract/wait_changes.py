"""What a decision of a run changes of its waits, and of what people are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Asked", "Wait", "WaitChanges"]


class Asked(NamedTuple):
    """People are asked to decide."""

    id: str
    dag: str
    title: str
    #: JSON Schema as JSON text; `null` for none.
    form: bytes
    assignees: Sequence[str]
    quorum: int
    at: int


class Wait(NamedTuple):
    """A wait that begins."""

    task: str
    kind: str
    shard: int
    due_at: int | None = None
    #: Of waits for events: the pattern's name, the hash of pattern and values, and from where on events count.
    pattern: str | None = None
    key: str | None = None
    since: int = 0
    #: Events received before this do not count; None: `since` says all.
    from_at: int | None = None
    asked: Asked | None = None


class WaitChanges(NamedTuple):
    """What one decision of one run changes of its waits."""

    begun: Sequence[Wait] = ()
    #: Names of tasks whose waits have ended.
    ended: Sequence[str] = ()
    #: True: the run has ended, and all its waits with it.
    is_over: bool = False
