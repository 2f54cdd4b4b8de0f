"""Chaos: faults that chance brings, on the user's own workflows, all of them from one seed.

Rules:
1. Whatever is done to a message, it arrives in the end: producers try again, and what is delayed comes later.
2. After a kill the process begins again on what is on disk, as a supervisor would have it.
3. Chaos ends with `limit` faults of each kind, so that every story has an end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.testing.faults import CommitFault, CrashAt, DiskIsFull
from tidemill.testing.seeded import chance_of

__all__ = ["Chaos", "Misfortune", "parse_chaos"]

#: Kinds of faults at commits: which one strikes is drawn in this order.
_COMMITS = ("kill", "disk_full", "lost_answer")
_MESSAGES = ("duplicate", "reorder", "delay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """How likely each fault is, from 0 to 1."""

    seed: int = 0
    #: The process dies at a commit point, before or after the commit, and begins again.
    kill: float = 0.0
    #: A commit fails because the disk is full; nothing is stored.
    disk_full: float = 0.0
    #: A commit reaches the disk and its answer is lost.
    lost_answer: float = 0.0
    #: A message from outside comes twice.
    duplicate: float = 0.0
    #: A message comes after one that was sent later.
    reorder: float = 0.0
    #: A message comes later, by up to `delay_seconds`.
    delay: float = 0.0
    delay_seconds: float = 60.0
    #: Most faults of each kind.
    limit: int = 100

    def __post_init__(self) -> None:
        for name in (*_COMMITS, *_MESSAGES):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a likelihood from 0 to 1, not {getattr(self, name)}")


@dataclass(slots=True)
class Misfortune:
    """Chaos at work in one harness: a fault at its commit points, and the fate of its messages."""

    chaos: Chaos
    #: How many faults of each kind struck.
    struck: dict[str, int] = field(default_factory=dict)
    #: The process has died of this and was not begun again.
    has_crashed: bool = False
    _commits: random.Random = field(init=False)
    _messages: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._commits = chance_of(self.chaos.seed, "commits")
        self._messages = chance_of(self.chaos.seed, "messages")

    def __call__(self, point: str) -> None:
        """A commit passes a point; see `faults`."""
        if self.has_crashed:
            raise CrashAt.Crashed
        if self._strikes("kill", self._commits):
            self.has_crashed = True
            raise CrashAt.Crashed
        if point.endswith(".before_commit"):
            if self._strikes("disk_full", self._commits):
                raise DiskIsFull
        elif self._strikes("lost_answer", self._commits):
            raise CommitFault("the answer was lost")

    def revive(self) -> None:
        """The process begins again."""
        self.has_crashed = False

    def comes_twice(self) -> bool:
        """Whether a message comes twice."""
        return self._strikes("duplicate", self._messages)

    def is_overtaken(self) -> bool:
        """Whether a message waits for the next one."""
        return self._strikes("reorder", self._messages)

    def delay(self) -> float:
        """Seconds by which a message comes later."""
        if not self._strikes("delay", self._messages):
            return 0.0
        return round(self._messages.uniform(0.001, max(0.001, self.chaos.delay_seconds)), 6)

    def _strikes(self, kind: str, chance: random.Random) -> bool:
        likelihood: float = getattr(self.chaos, kind)
        if not likelihood or chance.random() >= likelihood or self.struck.get(kind, 0) >= self.chaos.limit:
            return False
        self.struck[kind] = self.struck.get(kind, 0) + 1
        return True


def parse_chaos(text: str, *, seed: int) -> Chaos:
    """`kill=0.1,duplicate=0.2` as chaos; raises `ValueError` for anything else."""
    chaos = Chaos(seed=seed)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = part.partition("=")
        if not equals or name not in (*_COMMITS, *_MESSAGES, "delay_seconds", "limit"):
            names = ", ".join((*_COMMITS, *_MESSAGES, "delay_seconds", "limit"))
            raise ValueError(f"{part!r} is not NAME=NUMBER; names are {names}")
        value: Any = int(number) if name == "limit" else float(number)
        chaos = replace(chaos, **{name: value})
    return chaos
