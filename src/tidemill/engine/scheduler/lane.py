"""One queue of one pool: tasks of one shape (executor, slots, resources), which fit or do not fit alike.

A task that does not fit now holds back only its own lane. Each start of another task that takes what the lane waits for
is counted; after so many the lane is reserved for (see `Scheduler`).
"""

from __future__ import annotations

from tidemill.dag.policy import DEFAULT_POOL
from tidemill.engine.scheduler.amounts import Amounts, Stock
from tidemill.engine.scheduler.grant import Grant
from tidemill.engine.scheduler.pool import ExecutorSlots, Pool, Sharing
from tidemill.engine.scheduler.sharing import Account, Flow, Sharers

__all__ = ["Lane"]


class Lane:
    """See above."""

    __slots__ = (
        "_flows",
        "_groups",
        "executor",
        "is_plain",
        "passed",
        "pool",
        "resources",
        "sharers",
        "slots",
        "stock",
    )

    def __init__(
        self, pool: Pool, executor: ExecutorSlots, *, slots: int, resources: Amounts, stock: Stock
    ) -> None:
        self.pool = pool
        self.executor = executor
        self.slots = slots
        self.resources = resources
        self.stock = stock
        self.sharers = Sharers()
        #: Whether a slot of the executor is all that is asked.
        self.is_plain = pool.name == DEFAULT_POOL and not resources
        #: Others that started while this one did not fit.
        self.passed = 0
        self._flows: dict[tuple[str, ...], Flow] = {}
        self._groups: dict[str, Sharers] = {}

    @property
    def fits(self) -> bool:
        """Whether its next task may start now."""
        if self.is_plain:
            return self.executor.free > 0
        limit = self.pool.limit.slots
        if not self.executor.free or (limit is not None and limit - self.pool.used < self.slots):
            return False
        return not self.resources or self.stock.fits(self.resources)

    @property
    def is_possible(self) -> bool:
        """Whether its next task may start once nothing else runs."""
        limit = self.pool.limit.slots
        return (limit is None or self.slots <= limit) and self.stock.lacks(self.resources) is None

    def contends_with(self, other: Lane) -> bool:
        """Whether what starts in one takes what the other waits for."""
        if self.pool is other.pool and self.pool.limit.slots is not None:
            return True
        return bool({name for name, _ in self.resources} & {name for name, _ in other.resources})

    def spares(self, other: Lane) -> bool:
        """Whether a start here leaves what `other` waits for as near as it is."""
        if self.executor is other.executor and self.executor.free < 2:
            return False
        if self.pool is other.pool:
            free = self.pool.free
            if free is not None and free - self.slots < other.slots:
                return False
        return self.stock.leaves(self.resources, other.resources)

    def flow(self, dag_id: str, weight: float, key: str, *, now: int) -> Flow:
        """The queue of one DAG, or of one key of its runs."""
        match self.pool.limit.sharing:
            case Sharing.DAG:
                path: tuple[str, ...] = (dag_id,)
            case Sharing.KEY:
                path = (dag_id, key)
            case Sharing.NONE:
                path, weight = ("",), 1.0
        flow = self._flows.get(path)
        if flow is None:
            account = self.pool.account(path, weight=weight, now=now)
            flow = self._flows[path] = Flow(account, self._among(path, account), path, self)
        return flow

    def _among(self, path: tuple[str, ...], account: Account) -> Sharers:
        if len(path) == 1:
            return self.sharers
        group = self._groups.get(path[0])
        if group is None:
            assert account.parent is not None  # noqa: S101 - the account of a key is part of its DAG's
            group = self._groups[path[0]] = Sharers(account.parent, self.sharers)
        return group

    def grant(self, flow: Flow) -> Grant:
        """What tasks of this flow take that ask for no resources and know no limits; one object for all."""
        if flow.grant is None:
            flow.grant = Grant(self.executor, self.pool, flow.account, self.slots)
        return flow.grant

    def forget(self, flow: Flow) -> None:
        """Nothing waits or runs of a key: its account and queue go, since there may be any number of keys."""
        self._flows.pop(flow.path, None)
        flow.account.places.remove((flow.among, flow))
        if not flow.account.places:
            self.pool.accounts.pop(flow.path, None)
