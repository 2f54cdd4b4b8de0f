"""One database behind its aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidemill.storage.contract.admission import Admissions
from tidemill.storage.contract.cache import TaskCache
from tidemill.storage.contract.deliveries import Outbox
from tidemill.storage.contract.durations import Durations
from tidemill.storage.contract.letters import DeadLetters
from tidemill.storage.contract.log import EventLog, Ledger
from tidemill.storage.contract.past import Definitions, Keeping, Replays
from tidemill.storage.contract.routing import Trees
from tidemill.storage.contract.runs import RunStore
from tidemill.storage.contract.scheduling import Pasts, Pools
from tidemill.storage.contract.subscriptions import Subscriptions
from tidemill.storage.contract.waits import Approvals, Waits
from tidemill.storage.shards import Shards

__all__ = ["NodeView", "Store"]


@dataclass(frozen=True, slots=True)
class NodeView:
    """One process that works on a database."""

    node: str
    #: Where its HTTP server answers.
    url: str
    #: Number of shards it owns.
    shards: int
    #: True when it gives its shards back and takes none.
    draining: bool
    #: Seconds since it was last seen, by the database's clock.
    silent_seconds: float
    #: What it does: live runs, running tasks, events not routed.
    load: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """One database behind its aggregates. Opened by the composition root, closed last."""

    @property
    def log(self) -> EventLog: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def runs(self) -> RunStore: ...
    @property
    def admissions(self) -> Admissions: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def subscriptions(self) -> Subscriptions: ...
    @property
    def trees(self) -> Trees: ...
    @property
    def keeping(self) -> Keeping: ...
    @property
    def replays(self) -> Replays: ...
    @property
    def definitions(self) -> Definitions: ...
    @property
    def durations(self) -> Durations: ...
    @property
    def cache(self) -> TaskCache: ...
    @property
    def pools(self) -> Pools: ...
    @property
    def pasts(self) -> Pasts: ...
    @property
    def waits(self) -> Waits: ...
    @property
    def approvals(self) -> Approvals: ...
    @property
    def shards(self) -> Shards: ...

    async def nodes(self) -> list[NodeView]:
        """Every process that works on this database; none are listed where only this one can."""

    @property
    def refused_records(self) -> int:
        """Records that were refused because this process had lost their shard."""

    async def close(self) -> None:
        """Commit what was handed in and close; later calls raise `StoreUnavailable`."""
