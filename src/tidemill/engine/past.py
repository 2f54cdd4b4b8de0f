"""Tasks that depend on the past wait here until the same task of the DAG's run before has succeeded or was skipped.

1. The order is that in which runs were queued. A run that was made again (a retry) takes
   the place of the first one: what waits for that goes on when its retry succeeds.
2. Nobody looks further back than to one run: its outcomes are rows that were written with its records. A run that has
   no such row for the task (its version did not ask for it yet) is looked up in its history, once it has ended.
3. The first run of a DAG, and one before which everything was dropped or knew no such task, waits for nothing. One
   whose run before failed waits until that is made again, or is marked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from tidemill.clock import Clock, Wakeup
from tidemill.engine.live import LiveRun
from tidemill.engine.recovery import DAMAGED, replayed
from tidemill.engine.scheduler.standing import Plan
from tidemill.engine.scheduler.ticket import Ticket
from tidemill.engine.versions import Versions
from tidemill.errors import StorageError
from tidemill.runs.state import FINAL_TASK_STATES, RunPhase, RunState, TaskState
from tidemill.storage.contract import NewRun, PastOutcome, RunSummary, Store
from tidemill.storage.places import place_of

__all__ = ["Past", "PastGate"]

#: Between two looks at what other nodes, or people, have made of the runs before, in seconds.
_LOOK_SECONDS = 2.0
_LATELY = 200
_PASSES = frozenset({TaskState.SUCCEEDED.value, TaskState.SKIPPED.value, "marked"})


@dataclass(slots=True, eq=False)
class Past:
    """One run in the order of its DAG's runs."""

    place: str
    #: The place before; None for none.
    before: str | None
    #: Tasks that may start.
    passed: set[str] = field(default_factory=set)
    #: Task runs whose outcome is on its way to the disk, or there.
    told: set[int] = field(default_factory=set)


class PastGate:
    """See above."""

    def __init__(self, store: Store, versions: Versions, *, clock: Clock, wake: Callable[[], None]) -> None:
        self._store = store
        self._versions = versions
        self._clock = clock
        self._wake = wake
        #: What waits, by DAG and the place that it waits for.
        self._waiting: dict[tuple[str, str], list[Ticket]] = {}
        #: DAG, task and place of what passed lately: a run that began meanwhile may not have read it.
        self._lately: deque[tuple[str, str, str]] = deque(maxlen=_LATELY)
        self._timer: Wakeup | None = None
        self._is_due = False

    @property
    def waiting(self) -> int:
        """Tasks that wait for the past."""
        return sum(len(tickets) for tickets in self._waiting.values())

    async def prepare(self, live: LiveRun, plan: Plan) -> Past | None:
        """What the tasks of a run may know of the past before it begins here; None where none asks.

        Raises `StorageError`.
        """
        if not plan.past:
            return None
        place = await place_of(self._store, live.run)
        past = Past(place, await self._store.pasts.before(live.run.dag, place))
        tasks = live.state.tasks
        past.told.update(index for index in plan.past if tasks[index] in FINAL_TASK_STATES)
        wanted = {ask.task_id for ask in plan.past.values()}
        past.passed = await self._passed(live.run.dag, past.before, wanted)
        return past

    async def waits_for(self, run: NewRun | RunSummary, plan: Plan, shards: Collection[int]) -> str | None:
        """A queued run of these shards that must begin before this one; None for most. Raises `StorageError`.

        Runs begin in their order nearly always. Where they do not, one that has begun would wait for one that cannot
        begin, because so many of the DAG have begun.
        """
        if not plan.past:
            return None
        before = await self._store.pasts.before(run.dag, await place_of(self._store, run))
        found = None if before is None else await self._store.runs.get(before)
        if found is None or found.state != RunPhase.QUEUED or found.shard not in shards:
            return None
        return found.run_id

    def lets(self, ticket: Ticket) -> bool:
        """Whether its task may wait for its turn; otherwise `released` gives it once it may."""
        past: Past | None = ticket.live.standing.past
        if past is None:
            return True
        task = ticket.ask.task_id
        if task in past.passed or (ticket.ask.dag_id, task, past.before) in self._lately:
            return True
        assert past.before is not None  # noqa: S101 - everything has passed otherwise
        self._waiting.setdefault((ticket.ask.dag_id, past.before), []).append(ticket)
        self._watch()
        return False

    def outcomes(self, live: LiveRun) -> Sequence[PastOutcome]:
        """What has come of tasks that depend on the past and was not told yet; it goes to the disk with the records."""
        past: Past = live.standing.past
        tasks, found = live.state.tasks, []
        for index, ask in live.standing.plan.past.items():
            if index not in past.told and tasks[index] in FINAL_TASK_STATES:
                past.told.add(index)
                found.append(PastOutcome(ask.dag_id, ask.task_id, past.place, tasks[index].value))
        return found

    def recorded(self, outcomes: Sequence[PastOutcome]) -> list[Ticket]:
        """Outcomes are on disk: what may wait for its turn now."""
        found = []
        for one in outcomes:
            if one.state in _PASSES:
                self._lately.append(one[:3])
                found += self._let_go((one.dag, one.place), {one.task})
        return found

    async def released(self) -> list[Ticket]:
        """What may wait for its turn, as far as others, or people, have said so. Raises `StorageError`."""
        if not self._is_due:
            return []
        found = []
        for dag, before in list(self._waiting):
            tickets = self._waiting.get((dag, before), ())
            wanted = {ticket.ask.task_id for ticket in tickets if ticket.is_waiting}
            passed = await self._passed(dag, before, wanted) if wanted else set()
            found += self._let_go((dag, before), passed)
        self._is_due = False
        self._watch()
        return found

    def _let_go(self, key: tuple[str, str], passed: set[str]) -> list[Ticket]:
        found: list[Ticket] = []
        kept: list[Ticket] = []
        for ticket in self._waiting.pop(key, ()):
            if not ticket.is_waiting:
                continue
            past: Past = ticket.live.standing.past
            past.passed |= passed
            (found if ticket.ask.task_id in passed else kept).append(ticket)
        if kept:
            self._waiting[key] = kept
        elif not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return found

    async def _passed(self, dag: str, before: str | None, wanted: set[str]) -> set[str]:
        """Those of the wanted tasks that the place before does not hold back."""
        if before is None:
            return wanted
        states = await self._store.pasts.outcomes(dag, before)
        passed = {task for task in wanted if states.get(task) in _PASSES}
        unknown = {task for task in wanted if task not in states}
        return passed | await self._passed_by_history(dag, before, unknown) if unknown else passed

    async def _passed_by_history(self, dag: str, before: str, unknown: set[str]) -> set[str]:
        run = await self._store.runs.get(before)
        if run is None:
            return unknown  # it was dropped
        if run.ended_at is None:
            return set()
        try:
            version = await self._versions.find(dag, run.version)
            state = replayed(
                RunState(run.run_id, version, run.parameters), await self._store.runs.history(before)
            )
        except StorageError:
            raise
        except DAMAGED:
            return set()
        return {
            task
            for task in unknown
            if task not in version.index or state.tasks[version.index[task]].value in _PASSES
        }

    def _watch(self) -> None:
        if self._waiting and self._timer is None and not self._is_due:
            self._timer = self._clock.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        self._is_due = True
        self._wake()
