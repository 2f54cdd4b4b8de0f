"""After a restart: live runs are folded from their histories and go on from their last recorded task."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Sequence

from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.versions import Versions
from tidemill.errors import InvalidTransition, StorageError, TidemillError
from tidemill.runs import decide
from tidemill.runs.records import TaskSucceeded, decode
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, RunState, TaskState, apply
from tidemill.storage.contract import NewRun, RunSummary, Store

__all__ = ["DAMAGED", "carried_results", "recover"]

logger = logging.getLogger(__name__)

_PAGE = 500

#: What reading a run's own rows raises when they are not what we wrote. Errors of the database are none of these.
DAMAGED = (TidemillError, LookupError, ValueError, TypeError, AttributeError)


async def recover(
    store: Store, versions: Versions, now: int, max_recoveries: int, shards: Collection[int] | None
) -> list[LiveRun]:
    """Every live run (of these shards, where given), with records of what was lost with the process that had it."""
    found: list[LiveRun] = []
    after = ""
    while page := await store.runs.live(after=after, limit=_PAGE, shards=shards):
        after = page[-1].run_id
        found += [await _fold(run, store, versions, now, max_recoveries) for run in page]
    return found


async def _fold(run: RunSummary, store: Store, versions: Versions, now: int, max_recoveries: int) -> LiveRun:
    history = await store.runs.history(run.run_id)
    try:
        dag = await versions.find(run.dag, run.version)
        state = _replay(RunState(run.run_id, dag, run.parameters), history)
        live = LiveRun(run, dag, state, at=now, shown=RunPhase(run.state))
        # Tasks that a fold finds ready were never started: they queue again as they are.
        decide.recover(state, now, live.records, max_recoveries=max_recoveries)
        state.ready = deque(dict.fromkeys(i for i in state.ready if state.tasks[i] is TaskState.READY))
    except StorageError:
        raise
    except DAMAGED as error:
        logger.exception("run.abandoned", extra={"run_id": run.run_id, "error": str(error)})
        return _abandoned(run, history[-1][0] + 1 if history else 0, now, str(error))
    if dag.needs_event:
        logged = await store.log.get(run.position)
        live.event = logged.event if logged is not None else None
    return live


def _replay(state: RunState, history: Sequence[tuple[int, int, bytes]]) -> RunState:
    """The state that the whole history folds to; raises one of `DAMAGED` when it is not the history of a live run."""
    for sequence, at, body in history:
        if sequence != state.sequence:
            raise InvalidTransition(
                state.run_id, f"row {sequence}", f"{state.phase}, which expects row {state.sequence}"
            )
        for record in decode(body):
            apply(state, record, at)
        state.sequence += 1
    if state.phase is RunPhase.QUEUED or state.phase in FINAL_RUN_STATES:
        raise InvalidTransition(state.run_id, "summary of a live run", state.phase)
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


async def carried_results(store: Store, run: NewRun | RunSummary) -> dict[str, bytes]:
    """Results that the run which this one retries already has, by task id."""
    asked = await store.log.get(run.position)
    earlier = (
        asked.event.data.get("run_id") if asked is not None and isinstance(asked.event.data, dict) else None
    )
    if not isinstance(earlier, str):
        return {}
    return {
        record.task: record.result
        for _, _, body in await store.runs.history(earlier)
        for record in decode(body)
        if isinstance(record, TaskSucceeded)
    }
