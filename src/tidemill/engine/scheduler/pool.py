"""Pools and executors as the scheduler counts them: slots, how they are shared, and what is in use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidemill.engine.scheduler.sharing import Account

__all__ = ["ExecutorSlots", "Pool", "PoolLimit", "Sharing"]


class Sharing(StrEnum):
    """Among whom a pool is shared while it is contended."""

    #: Among DAGs, by their weights.
    DAG = "dag"
    #: The same, and within a DAG among the admission keys of its runs, alike.
    KEY = "key"
    #: Among nobody: one order for all tasks of the pool, by priority (as Airflow has it).
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimit:
    """What one pool lets in."""

    #: Slots that its attempts may take at once; 0 pauses it, None is no limit.
    slots: int | None = None
    #: Its part of an executor that several pools contend for.
    weight: float = 1.0
    sharing: Sharing = Sharing.DAG
    #: Waiting tasks at which further runs of DAGs that use it are held back.
    max_queued: int = 10_000


class ExecutorSlots:
    """How many attempts one executor takes at once."""

    __slots__ = ("free", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size


class Pool:
    """One pool; the default pool is one for each executor, since they are all that it is contended for."""

    __slots__ = ("accounts", "limit", "name", "started", "used", "waited")

    def __init__(self, name: str, limit: PoolLimit) -> None:
        self.name = name
        self.limit = limit
        #: Slots in use.
        self.used = 0
        #: Attempts started, and the microseconds that tasks have waited in its queues.
        self.started = 0
        self.waited = 0
        #: By what they stand for: a DAG, or a DAG and a key.
        self.accounts: dict[tuple[str, ...], Account] = {}

    @property
    def free(self) -> int | None:
        """Slots that may be taken now; None for any number."""
        slots = self.limit.slots
        return None if slots is None else slots - self.used

    @property
    def share(self) -> float:
        """What it has, for its weight."""
        return self.used / self.limit.weight

    def account(self, path: tuple[str, ...], *, weight: float, now: int) -> Account:
        """The account of a DAG, or of a key of its runs."""
        account = self.accounts.get(path)
        if account is None:
            parent = self.account(path[:-1], weight=weight, now=now) if len(path) > 1 else None
            account = self.accounts[path] = Account(weight if parent is None else 1.0, parent)
            account.since = now
            self._meet(account, now)
        return account

    def _meet(self, account: Account, now: int) -> None:
        """From the second account on slot-time is counted."""
        account.alone = len(self.accounts) == 1
        if not account.alone:
            for other in self.accounts.values():
                if other.alone:
                    other.alone = False
                    other.since = now
