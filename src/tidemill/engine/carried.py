"""Results that the tasks of a run get without being called: what it takes over of an earlier run, and what it hands on.

1. What is taken over follows from the event that asked for the run and the earlier run's history, so that after a
   restart it is the same. A task gets its result when it becomes ready, in the order of the graph.
2. Whatever a run's history refers to and is kept with another run is held (`Reuse.holds`), in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.dag.definition import Dag
from tidemill.runs.claims import claim_of, kept_whole, may_be_claim
from tidemill.runs.rerun import Plan, carried, done_in
from tidemill.runs.reuse import Reused
from tidemill.storage.contract import CacheEntry, NewRun, Reuse, RunSummary, Store

__all__ = ["LiveReuse", "carried_results"]

#: Trigger of runs that take over results.
_RETRY = "retry"


@dataclass(slots=True, eq=False)
class LiveReuse:
    """What a live run takes over and hands on; most runs have none."""

    #: Results of the earlier run that no task has got yet, by the names of task runs.
    carried: dict[str, Reused] = field(default_factory=dict)
    #: Cache keys of tasks that are called, by their index.
    keys: dict[int, str] = field(default_factory=dict)
    #: What goes into the cache with the records that are gathered.
    cached: list[CacheEntry] = field(default_factory=list)
    #: Runs that results in those records are kept with.
    holds: set[str] = field(default_factory=set)
    #: The earlier run, until the records of the beginning are handed over.
    released: str | None = None
    _whole: frozenset[int] | None = None

    def fits(self, dag: Dag, index: int, result: bytes) -> bool:
        """Whether the task at that index may have this result: one that the graph itself reads must be here."""
        if not may_be_claim(result):
            return True
        if self._whole is None:
            self._whole = kept_whole(dag)
        return index not in self._whole or claim_of(result) is None

    def holds_of(self, run_id: str, result: bytes) -> None:
        """Remember with which run a result is kept that `run_id` now refers to."""
        if may_be_claim(result):
            claim = claim_of(result)
            if claim is not None and claim.run != run_id:
                self.holds.add(claim.run)

    def take(self) -> Reuse | None:
        """What goes with the records that are handed over now."""
        if not (self.cached or self.holds or self.released):
            return None
        made = Reuse(cached=self.cached, holds=frozenset(self.holds), released=self.released)
        self.cached, self.holds, self.released = [], set(), None
        return made


async def carried_results(store: Store, run: NewRun | RunSummary, dag: Dag) -> LiveReuse | None:
    """What a run takes over of the one that it makes again; None for a run that is no such.

    Raises `StorageError`.
    """
    if run.trigger != _RETRY:
        return None
    asked = await store.log.get(run.position)
    data = asked.event.data if asked is not None else None
    earlier = data.get("run_id") if isinstance(data, Mapping) else None
    if not isinstance(earlier, str) or not isinstance(data, Mapping):
        return None
    done = done_in(await store.runs.history(earlier))
    return LiveReuse(carried=carried(Plan.of(data), dag, earlier, done), released=earlier)
