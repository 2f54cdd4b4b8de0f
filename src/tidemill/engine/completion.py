"""The completion event of a run that has just ended, written in the transaction that ends it."""

from __future__ import annotations

from tidemill.engine.live import LiveRun
from tidemill.events.event import Event
from tidemill.events.lifecycle import run_completed
from tidemill.runs.output import run_output
from tidemill.runs.state import RunPhase, TaskState

__all__ = ["completion"]


def completion(live: LiveRun, at: int) -> Event:
    """Exactly one per run: its id follows from the run and the state."""
    run, state = live.run, live.state
    return run_completed(
        dag=run.dag,
        run_id=run.run_id,
        state=state.phase,
        version=run.version,
        trigger=run.trigger,
        at_us=at,
        event_source=run.event_source,
        event_id=run.event_id,
        result=run_output(state) if state.phase is RunPhase.SUCCEEDED else None,
        error=_error(live),
        parameters=run.parameters,
        started_at=state.started_at,
        queued_at=run.queued_at,
        correlation_id=run.correlation_id,
        causation_id=run.event_id,
        hop_count=run.hop_count + 1,
        traceparent=run.traceparent,
    )


def _error(live: LiveRun) -> dict[str, object] | None:
    state = live.state
    if state.phase is not RunPhase.FAILED:
        return None
    failed = [
        {
            "task": node.task_id,
            "type": state.errors[node.index].error_type,
            "message": state.errors[node.index].message,
        }
        for node in live.dag.tasks
        if state.tasks[node.index] is TaskState.FAILED
    ]
    return {"reason": state.reason or "task_failed", "tasks": failed[:100]}
