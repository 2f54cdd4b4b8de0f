"""What a node waits for, as plain data: how it is written is in `waits`, what follows from it in `runs`. Pure.

What may depend on the run (how long, which values, who is asked) is not here but among the node's arguments, so that
results and parameters are referred to as by any task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

__all__ = ["OnEnd", "WaitKind", "WaitSpec"]


class WaitKind(StrEnum):
    """What a wait waits for."""

    SLEEP = "sleep"
    UNTIL = "until"
    EVENT = "event"
    APPROVAL = "approval"
    #: The end of another run, which begins with the wait.
    RUN = "run"


class OnEnd(StrEnum):
    """What becomes of a wait whose time is up, or that was rejected."""

    FAIL = "fail"
    SKIP = "skip"
    #: It succeeds with a value that was given for that.
    VALUE = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSpec:
    """What one node waits for."""

    kind: WaitKind
    #: Which events: a rule in each dialect that is used, as in a trigger file (`pattern`, `filters`, `cesql`, `cel`).
    rule: Mapping[str, Any] = field(default_factory=dict)
    #: Paths of the event whose values are compared, in order.
    paths: tuple[str, ...] = ()
    #: Events received this much before the wait began count, too, in microseconds.
    lookback_us: int = 0
    on_timeout: OnEnd = OnEnd.FAIL
    on_reject: OnEnd = OnEnd.FAIL
    #: JSON Schema of what is filled in; None: anything.
    form: Any = None
    quorum: int = 1
    #: Of a run: its failure is a result, and fails nothing.
    isolates: bool = False

    @property
    def body(self) -> bytes:
        """The rule and the paths as they are kept: JSON, the same for the same."""
        written = {"rule": dict(self.rule), "paths": self.paths}
        return orjson.dumps(written, option=orjson.OPT_SORT_KEYS)

    @property
    def pattern(self) -> str | None:
        """What waits for the same events, compared at the same paths, is known together by; None: no events."""
        if self.kind not in (WaitKind.EVENT, WaitKind.RUN):
            return None
        return hashlib.blake2b(self.body, digest_size=10).hexdigest()
