"""After a restart: live runs are folded from their histories and go on from their last recorded task."""

from __future__ import annotations

import logging

from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.versions import Versions
from tidemill.errors import TidemillError
from tidemill.runs import decide
from tidemill.runs.records import TaskSucceeded, decode
from tidemill.runs.state import RunPhase, RunState, apply
from tidemill.storage.contract import NewRun, RunSummary, Store

__all__ = ["carried_results", "recover"]

logger = logging.getLogger(__name__)

_PAGE = 500


async def recover(store: Store, versions: Versions, now: int, max_recoveries: int) -> list[LiveRun]:
    """Every live run, with the records that follow from the process's death not yet handed to the store."""
    found: list[LiveRun] = []
    after = ""
    while page := await store.runs.live(after=after, limit=_PAGE):
        after = page[-1].run_id
        for run in page:
            found.append(await _fold(run, store, versions, now, max_recoveries))
    return found


async def _fold(run: RunSummary, store: Store, versions: Versions, now: int, max_recoveries: int) -> LiveRun:
    history = await store.runs.history(run.run_id)
    try:
        dag = await versions.find(run.dag, run.version)
        state = RunState(run.run_id, dag)
        for sequence, at, body in history:
            for record in decode(body):
                apply(state, record, at)
            state.sequence = sequence + 1
        live = LiveRun(run, dag, state, at=now, shown=RunPhase(run.state))
        # Tasks that a fold finds ready were never started: they queue again as they are.
        decide.recover(state, now, live.records, max_recoveries=max_recoveries)
    except (TidemillError, LookupError) as error:
        logger.exception("run.abandoned", extra={"run_id": run.run_id, "error": str(error)})
        return _abandoned(run, history[-1][0] + 1 if history else 0, now, str(error))
    if dag.needs_event:
        logged = await store.log.get(run.position)
        live.event = logged.event if logged is not None else None
    return live


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
