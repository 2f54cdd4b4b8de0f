"""Queued runs of each DAG, oldest first, in bounded memory.

A backlog that fits is held in memory as the router handed it over; one that does not is read from the database page by
page. A queued run is a row; it costs memory only when its turn is near.

A run comes out once, whichever way it came in: what was read from the database may still be handed over afterwards
(it was committed before the reading and told of after it). It is then among what was read last, which is remembered by
name: positions say nothing, since an event may wait in admission while later ones start their runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from tidemill.storage.contract import NewRun, RunStore, RunSummary
from tidemill.storage.shards import Shards

__all__ = ["Backlog"]

#: Queued runs of one DAG held in memory.
_HELD = 5000
_PAGE = 1000
#: A run that was read is handed over before a further page has been read.
_REMEMBERED_PAGES = 2
#: Runs taken out of their turn that are remembered until they are handed over.
_FORGOTTEN = 10_000


class _Queue:
    __slots__ = ("behind", "deferred", "held", "names", "pages")

    def __init__(self) -> None:
        self.held: deque[NewRun | RunSummary] = deque()
        self.names: set[str] = set()
        #: True: the database has queued runs that are not held here.
        self.behind = False
        #: Runs that wait for the beginning of another one of the DAG, by that one.
        self.deferred: dict[str, NewRun | RunSummary] = {}
        #: Names of the runs that were read from the database last.
        self.pages: deque[frozenset[str]] = deque(maxlen=_REMEMBERED_PAGES)


class Backlog:
    """Runs that wait for their turn."""

    def __init__(self, store: RunStore, shards: Shards) -> None:
        self._store = store
        self._shards = shards
        self._queues: dict[str, _Queue] = {}
        #: Runs taken out of their turn that were not held: they may yet be handed over.
        self._forgotten: dict[str, None] = {}

    @property
    def dags(self) -> list[str]:
        """DAGs that have runs waiting, the one that had its turn last comes last."""
        return [dag for dag, queue in self._queues.items() if queue.held or queue.behind]

    async def look_back(self) -> None:
        """The hand-over missed something, or the process has just started: read from the database from now on."""
        for dag in await self._store.queued_dags(self._shards.filter):
            self._queues.setdefault(dag, _Queue()).behind = True

    def add(self, runs: Sequence[NewRun]) -> None:
        """Runs that were just committed."""
        owned = self._shards.owned
        for run in runs:
            if run.shard not in owned:
                continue  # another node's
            queue = self._queues.setdefault(run.dag, _Queue())
            if run.run_id in self._forgotten:
                del self._forgotten[run.run_id]
                continue
            if queue.behind or run.run_id in queue.names or any(run.run_id in page for page in queue.pages):
                continue
            if len(queue.held) >= _HELD:
                queue.behind = True
                continue
            queue.held.append(run)
            queue.names.add(run.run_id)

    def drop(self, lost: frozenset[int]) -> None:
        """Runs of these shards are another node's now."""
        for queue in self._queues.values():
            kept = [run for run in (*queue.held, *queue.deferred.values()) if run.shard not in lost]
            queue.deferred.clear()
            queue.held = deque(kept)
            queue.names = {run.run_id for run in kept}

    async def take(self, dag: str, begun: Iterable[str]) -> NewRun | RunSummary | None:
        """The oldest run of `dag` whose turn it is; `begun` are runs taken before that the database may still call
        queued."""
        queue = self._queues[dag]
        if not queue.held and queue.behind:
            await self._read(dag, queue, begun)
        if not queue.held:
            return None
        self._queues[dag] = self._queues.pop(dag)
        run = queue.held.popleft()
        queue.names.discard(run.run_id)
        return run

    def defer(self, run: NewRun | RunSummary, before: str) -> None:
        """A run that was taken out goes back until the queued run `before` has been: see `resume`."""
        queue = self._queues[run.dag]
        queue.deferred[before] = run
        queue.names.add(run.run_id)

    def resume(self, dag: str, before: str) -> None:
        """That run has begun, or never will: what was deferred until then comes next."""
        queue = self._queues.get(dag)
        if queue is not None and (run := queue.deferred.pop(before, None)) is not None:
            queue.held.appendleft(run)

    def forget(self, run: RunSummary) -> None:
        """Take a queued run out of its turn (it was cancelled)."""
        self.resume(run.dag, run.run_id)
        queue = self._queues.get(run.dag)
        if queue is not None:
            for before, deferred in queue.deferred.items():
                if deferred.run_id == run.run_id:
                    del queue.deferred[before]
                    queue.names.discard(run.run_id)
                    return
        if queue is None or run.run_id not in queue.names:
            self._forgotten[run.run_id] = None
            if len(self._forgotten) > _FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]
            return
        queue.held.remove(next(held for held in queue.held if held.run_id == run.run_id))
        queue.names.discard(run.run_id)

    async def _read(self, dag: str, queue: _Queue, begun: Iterable[str]) -> None:
        taken = set(begun)
        page = await self._store.queued(dag, after="", limit=_PAGE + len(taken), shards=self._shards.filter)
        owned = self._shards.owned
        queue.pages.append(frozenset(run.run_id for run in page))
        for run in page:
            if run.shard not in owned:
                continue  # lost while the page was read
            if run.run_id not in taken and run.run_id not in queue.names:
                queue.held.append(run)
                queue.names.add(run.run_id)
        queue.behind = len(page) == _PAGE + len(taken)
