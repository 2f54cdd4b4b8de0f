"""After a restart: live runs are folded from their histories and go on from their last recorded task."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence

from tidemill.engine.carried import carried_results
from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.versions import Versions
from tidemill.errors import InvalidTransition, StorageError, TidemillError
from tidemill.events.dataref import reference_of
from tidemill.events.event import Event
from tidemill.runs import decide
from tidemill.runs.fold import apply
from tidemill.runs.records import decode
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, RunState, TaskState
from tidemill.storage.contract import NewRun, RunSummary, Store

__all__ = ["DAMAGED", "event_of", "read_back", "recover", "replayed", "reread"]

logger = logging.getLogger(__name__)

_PAGE = 500

#: What reading a run's own rows raises when they are not what we wrote. Errors of the database are none of these.
DAMAGED = (TidemillError, LookupError, ValueError, TypeError, AttributeError)


#: (sequence, at, body) of a run in order.
_History = Sequence[tuple[int, int, bytes]]


async def recover(
    store: Store,
    versions: Versions,
    now: int,
    max_recoveries: int,
    shards: Collection[int] | None,
    *,
    is_wanted: Callable[[RunSummary], bool],
) -> list[LiveRun]:
    """Every live run (of these shards, where given), with records of what was lost with the process that had it.

    Summaries and histories are read one after the other. `is_wanted` is asked once a history was read: whether nobody
    can have gone on with the run in between, neither this process nor, where its shard was lost, another one.
    """
    found: list[LiveRun] = []
    after = ""
    while page := await store.runs.live(after=after, limit=_PAGE, shards=shards):
        after = page[-1].run_id
        histories = await store.runs.histories([run.run_id for run in page])
        for run in page:
            if not is_wanted(run):
                continue
            live = await _fold(run, histories[run.run_id], store, versions, now, max_recoveries)
            if live is not None:
                found.append(live)
    return found


async def read_back(
    store: Store, versions: Versions, run_ids: Collection[str], now: int, max_recoveries: int
) -> list[LiveRun]:
    """Those of these runs that only wait, folded from their histories."""
    runs = await store.waits.parked(run_ids)
    histories = await store.runs.histories([run.run_id for run in runs])
    found: list[LiveRun] = []
    for run in runs:
        live = await _fold(run, histories[run.run_id], store, versions, now, max_recoveries)
        if live is not None:
            live.woken = True
            found.append(live)
    return found


async def reread(
    store: Store, versions: Versions, run: RunSummary, now: int, max_recoveries: int
) -> LiveRun | None:
    """One live run, folded from its history; None when it has ended meanwhile."""
    history = await store.runs.history(run.run_id)
    return await _fold(run, history, store, versions, now, max_recoveries)


async def _fold(
    run: RunSummary, history: _History, store: Store, versions: Versions, now: int, max_recoveries: int
) -> LiveRun | None:
    try:
        dag = await versions.find(run.dag, run.version)
        state = _replay(RunState(run.run_id, dag, run.parameters), history)
        live = LiveRun(run, dag, state, at=now, shown=RunPhase(run.state), settled=state.sequence)
        # Tasks that a fold finds ready were never started: they queue again as they are.
        if store.shards.died(run.shard):
            decide.recover(state, now, live.records, max_recoveries=max_recoveries)
        else:
            decide.lose_attempts(state, now, live.records)
        state.ready = deque(dict.fromkeys(i for i in state.ready if state.tasks[i] is TaskState.READY))
        live.reuse = await carried_results(store, run, dag)
        if dag.needs_event:
            live.event = await event_of(store, run)
    except StorageError:
        raise
    except DAMAGED as error:
        current = await store.runs.get(run.run_id)
        if current is None or current.ended_at is not None:
            return None  # whoever has its shard, which we do not know to be lost yet, has ended it since
        logger.exception("run.abandoned", extra={"run_id": run.run_id, "error": str(error)})
        return _abandoned(run, history[-1][0] + 1 if history else 0, now, str(error))
    return live


def _replay(state: RunState, history: _History) -> RunState:
    """As `replayed`; raises one of `DAMAGED` also when it is not the history of a live run."""
    replayed(state, history)
    if state.phase is RunPhase.QUEUED or state.phase in FINAL_RUN_STATES:
        raise InvalidTransition(state.run_id, "summary of a live run", state.phase)
    return state


def replayed(state: RunState, history: _History) -> RunState:
    """The state that the whole history folds to; raises one of `DAMAGED` when it is no history of that DAG."""
    for sequence, at, body in history:
        if sequence != state.sequence:
            raise InvalidTransition(
                state.run_id, f"row {sequence}", f"{state.phase}, which expects row {state.sequence}"
            )
        for record in decode(body):
            apply(state, record, at)
        state.sequence += 1
    return state


def _abandoned(run: RunSummary, sequence: int, now: int, error: str) -> LiveRun:
    dag = empty_dag(run)
    state = RunState(run.run_id, dag)
    state.phase = RunPhase.RUNNING
    state.started_at = run.started_at
    state.sequence = sequence
    live = LiveRun(run, dag, state, at=now, shown=RunPhase.RUNNING)
    decide.abandon(state, f"the run cannot go on: {error}", now, live.records)
    return live


async def event_of(store: Store, run: NewRun | RunSummary) -> Event | None:
    """The event that a run's tasks are given; None when it is gone. Raises `ValueError` when its data is lost."""
    logged = await store.log.get(run.position)
    if logged is not None and reference_of(logged.event) is not None:
        raise ValueError(f"the data of its event is lost: {logged.event.extensions['dataref']}")
    return logged.event if logged is not None else None
