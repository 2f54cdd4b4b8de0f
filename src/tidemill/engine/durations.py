"""How long tasks take, learned from what the engine has committed, and the order under contention that follows.

1. Learned from rows that are on disk, by their recorded times: from the start of the attempt that succeeded to its
   record. Attempts that failed tell nothing: they end early, or by their timeout.
2. The hot path pays one attribute test a row and one a start: of each DAG at most `_RUNS` runs are watched per
   `_WINDOW` seconds, and of each task in such a run at most `_ATTEMPTS` attempts.
3. Kept in memory for at most `_MODELS` tasks, the least recently learned are forgotten first (they stay in the store).
   Written to the store by `run` every `SAVE_SECONDS` and at a stop: a crash loses what was learned since.
4. Nothing here decides who runs: `rank` is a key for those of equal priority, a higher one goes first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidemill.clock import Clock
from tidemill.dag.critical_path import rank
from tidemill.dag.definition import Dag
from tidemill.errors import StorageError
from tidemill.runs.durations import WIDTH, TaskModel, expected_seconds, size_of
from tidemill.runs.records import Record, TaskExpanded, TaskStarted, TaskSucceeded, TaskWaiting
from tidemill.storage.contract import Store, TaskDuration

if TYPE_CHECKING:
    from tidemill.engine.live import LiveRun
    from tidemill.runs.attempts import Attempt

__all__ = ["SAVE_SECONDS", "Learner", "Watched"]

logger = logging.getLogger(__name__)

#: How often what was learned is written, in seconds.
SAVE_SECONDS = 10.0
#: Runs of one DAG that are watched per window, and its length in microseconds.
_RUNS = 50
_WINDOW = 10_000_000
#: Attempts of one task that are learned from one run.
_ATTEMPTS = 64
#: Attempts that are learned from in a second: a run of ten thousand tasks that take no time is not worth a fifth of it.
_RATE = 2_000
#: Tasks that are known in memory, over all DAGs.
_MODELS = 20_000
#: Tasks that were not learned for so long are forgotten for good, in microseconds (half a year).
_FORGET = 180 * 86_400 * 1_000_000
#: Ranks are made anew after so long, in microseconds, where something was learned since; or twice as much is known.
_RANKS_AGE = 5_000_000
#: Below so many seconds from first to last task an order is not worth its price.
_WORTH = 0.1


@dataclass(slots=True)
class Watched:
    """A live run whose tasks are learned from."""

    #: When attempts began that have not ended, by the task run's name.
    begun: dict[str, int] = field(default_factory=dict)
    #: Sizes of their inputs, where the task says what they are.
    sizes: dict[str, float] = field(default_factory=dict)
    #: Attempts learned from, by task.
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Ranks:
    values: Sequence[float] | None
    #: Attempts that the DAG had been learned from, and when.
    learned: int
    at: int


class Learner:
    """Learns durations, keeps them, and ranks tasks by them."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        #: Whether there is a DAG among those that ran whose order matters: `rank` says the same of all until then.
        self.is_worth = False
        self._store = store
        self._clock = clock
        self._models: OrderedDict[tuple[str, str], TaskModel] = OrderedDict()
        self._by_dag: dict[str, dict[str, TaskModel]] = {}
        #: Tasks to be written, with the time of what was learned last.
        self._unsaved: dict[tuple[str, str], int] = {}
        #: Attempts learned per DAG.
        self._learned: dict[str, int] = {}
        #: Decided and not on disk yet.
        self._taken: list[tuple[LiveRun, int, Sequence[Record]]] = []
        self._window = 0
        #: When the second began, and how many attempts are learned from in what is left of it.
        self._second = 0
        self._left = _RATE
        self._runs: dict[str, int] = {}
        self._ranks: dict[tuple[str, str], _Ranks] = {}
        self._read_at = 0
        #: The run whose tasks were ranked last, its DAG's ranks and what is added to them.
        self._asked: LiveRun | None = None
        self._asked_ranks: Sequence[float] | None = None
        self._asked_base = 0.0

    # ── learning, called by the engine ──

    def watch(self, dag_id: str, now: int) -> Watched | None:
        """What a run that begins is learned with; None: enough runs of its DAG are watched."""
        if now - self._window >= _WINDOW or now < self._window:
            self._window = now
            self._runs.clear()
        count = self._runs.get(dag_id, 0)
        if count >= _RUNS:
            return None
        self._runs[dag_id] = count + 1
        return Watched()

    def measure(self, live: LiveRun, attempt: Attempt) -> None:
        """An attempt of a watched run begins whose task says what its duration depends on."""
        watched, name = live.watched, attempt.node.policy.size_by
        if watched is None or name is None:
            return
        value = attempt.kwargs.get(name, _NOTHING)
        if value is _NOTHING:
            value = _positional(attempt, name)
        if value is not _NOTHING and (size := size_of(value)) is not None:
            watched.sizes[attempt.task_id] = size

    def take(self, live: LiveRun, at: int, records: Sequence[Record]) -> None:
        """Records of a watched run are on their way to the disk."""
        self._taken.append((live, at, records))

    def committed(self) -> None:
        """What was taken is on disk."""
        taken, self._taken = self._taken, []
        self._asked = None
        for live, at, records in taken:
            if live.watched is not None and not live.dropped:
                self._learn(live.dag.dag_id, live.watched, at, records)
                self.is_worth = self.is_worth or self.ranks(live.dag) is not None

    def _learn(self, dag_id: str, watched: Watched, at: int, records: Sequence[Record]) -> None:
        begun = watched.begun
        if at - self._second >= 1_000_000 or at < self._second:
            self._second, self._left = at, _RATE
        for record in records:
            kind = type(record)
            if kind is TaskStarted or kind is TaskWaiting:
                begun[record.task] = at  # type: ignore[union-attr]
            elif kind is TaskSucceeded:
                name = record.task  # type: ignore[union-attr]
                since = begun.pop(name, None)
                if since is None:
                    continue  # carried over, or begun before this process was
                size = watched.sizes.pop(name, None) if watched.sizes else None
                if self._left <= 0:
                    continue
                task = name.partition("[")[0]
                count = watched.counts.get(task, 0)
                if count < _ATTEMPTS:
                    watched.counts[task] = count + 1
                    self._left -= 1
                    self.learn(dag_id, task, at - since, at=at, size=size)
            elif kind is TaskExpanded:
                width = record.size * 1_000_000  # type: ignore[union-attr]
                self.learn(dag_id, record.task + WIDTH, width, at=at)  # type: ignore[union-attr]

    def learn(self, dag_id: str, task: str, microseconds: int, *, at: int, size: float | None = None) -> None:
        """An attempt that succeeded took so long."""
        key = (dag_id, task)
        model = self._models.get(key)
        if model is None:
            model = TaskModel()
            self._adopt(key, model)
        else:
            self._models.move_to_end(key)
        model.add(microseconds, size)
        self._unsaved[key] = at
        self._learned[dag_id] = self._learned.get(dag_id, 0) + 1

    def _adopt(self, key: tuple[str, str], model: TaskModel) -> None:
        self._models[key] = model
        self._models.move_to_end(key)
        self._by_dag.setdefault(key[0], {})[key[1]] = model
        while len(self._models) > _MODELS:
            (dag_id, task), _ = self._models.popitem(last=False)
            self._unsaved.pop((dag_id, task), None)
            del self._by_dag[dag_id][task]
            if not self._by_dag[dag_id]:
                del self._by_dag[dag_id]

    # ── using ──

    def models(self, dag_id: str) -> Mapping[str, TaskModel]:
        """What is known of the tasks of a DAG."""
        return self._by_dag.get(dag_id, {})

    def rank(self, live: LiveRun, index: int) -> float:
        """Who waits with a higher one goes first: the longest way from the task to the run's end, less the run's start.

        So the way that decides the end goes first within a run; and of two runs the older one is overtaken by what
        began at most its own longest way later, and by nothing that began after that. Tasks of a DAG of which nothing
        is known, or that is over in a moment, are ranked by the time at which they come: first come, first served.
        """
        if live is not self._asked:
            self._ask(live)
        ranks = self._asked_ranks
        if ranks is None:
            return self._asked_base
        return self._asked_base + ranks[index if index < len(ranks) else live.state.node(index).index]

    def _ask(self, live: LiveRun) -> None:
        self._asked = live
        self._asked_ranks = self.ranks(live.dag)
        is_known = self._asked_ranks is not None
        since = live.state.started_at or live.run.queued_at if is_known else self._clock.now_us()
        self._asked_base = -since / 1e6

    def ranks(self, dag: Dag) -> Sequence[float] | None:
        """Upward ranks of a DAG's tasks in seconds, made anew now and then; None where order is not worth it."""
        key, now = (dag.dag_id, dag.version), self._clock.now_us()
        known, learned = self._ranks.get(key), self._learned.get(dag.dag_id, 0)
        if known is not None and now - known.at < _RANKS_AGE and learned < 2 * known.learned:
            return known.values
        if known is not None and known.learned == learned:
            known.at = now
            return known.values
        values: Sequence[float] | None = None
        models = self.models(dag.dag_id)
        if models:
            tasks = [node.task_id for node in dag.tasks]
            found = rank(dag, expected_seconds(tasks, models))
            values = found if max(found, default=0.0) >= _WORTH else None
        if len(self._ranks) > 1000:  # versions come and go
            self._ranks.clear()
        self._ranks[key] = _Ranks(values, learned, now)
        return values

    # ── keeping ──

    async def load(self) -> None:
        """Read what is known, the most recently learned tasks; a form that is not understood is learned anew."""
        await self._read(0)

    async def _read(self, since: int) -> None:
        rows = await self._store.durations.since(since, limit=_MODELS)
        for row in reversed(rows):
            key = (row.dag, row.task)
            self._read_at = max(self._read_at, row.at)
            if key in self._unsaved:
                continue
            try:
                model = TaskModel.decoded(row.body)
            except ValueError:
                continue
            self._adopt(key, model)
            self._learned[row.dag] = self._learned.get(row.dag, 0) + 1

    async def save(self) -> None:
        """Write what was learned since the last time; durable on return, raises `StorageError`."""
        unsaved, self._unsaved = self._unsaved, {}
        rows = [
            TaskDuration(dag, task, at, self._models[dag, task].encoded())
            for (dag, task), at in unsaved.items()
        ]
        if not rows:
            return
        try:
            await self._store.durations.save(rows, forget_before=self._clock.now_us() - _FORGET)
        except BaseException:
            self._unsaved = {**unsaved, **self._unsaved}
            raise

    async def run(self) -> None:
        """Write every `SAVE_SECONDS`, and read what other nodes have learned, until cancelled."""
        while True:
            await self._clock.sleep(SAVE_SECONDS)
            try:
                await self.save()
                if self._store.shards.shared:
                    await self._read(self._read_at + 1)
            except StorageError as error:
                logger.info("durations.not_saved", extra={"error": str(error)})


_NOTHING: Any = object()


def _positional(attempt: Attempt, name: str) -> Any:
    """The argument at the place of the parameter `name`; `_NOTHING` where it is not given."""
    code = getattr(attempt.node.function, "__code__", None)
    if code is None:
        return _NOTHING
    names = code.co_varnames[: code.co_argcount]
    place = names.index(name) if name in names else len(attempt.args)
    return attempt.args[place] if place < len(attempt.args) else _NOTHING
