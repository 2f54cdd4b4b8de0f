"""Waits of one live run: how they begin, what its records change of them, and the event that tells that it waits."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from tidemill.dag.definition import Dag
from tidemill.dag.wait_spec import WaitKind
from tidemill.engine.children import child_of
from tidemill.engine.live import LiveRun
from tidemill.errors import TaskFailed
from tidemill.events.event import Event
from tidemill.events.lifecycle import run_waiting
from tidemill.ids import new_id
from tidemill.runs import records, waits
from tidemill.runs.inputs import ResultElsewhere
from tidemill.runs.records import Failure, TaskWaiting
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase
from tidemill.runs.waits import Begun
from tidemill.storage.contract import Asked, Wait, WaitChanges

__all__ = ["begin_wait", "wait_changes", "waiting_event"]

_MESSAGE = 4096


def begin_wait(
    live: LiveRun, index: int, *, now: int, since: int, dags: Mapping[str, Dag], max_hops: int
) -> Begun | Failure:
    """What the wait of a node comes to now that its turn has come; events after position `since` count.

    `dags` are those that a run can be started of, at most `max_hops` runs one in another.
    """
    spec = live.dag.tasks[index].wait
    assert spec is not None  # noqa: S101 - only such nodes wait
    try:
        values = live.wait_values(index)
        child = (
            child_of(live, index, values, dags=dags, max_hops=max_hops) if spec.kind is WaitKind.RUN else None
        )
        return waits.begin(spec, values, at=now, since=since, approval_id=new_id(), child=child)
    except TaskFailed as error:
        return Failure(error.error_type, error.message[:_MESSAGE])
    except ResultElsewhere as error:
        name = live.state.name(error.index)
        return Failure(
            "InvalidWait",
            f"the result of {name} is large and kept elsewhere; have a task return what the wait needs of it",
        )
    except Exception as error:  # types of the user's own parameters may raise anything
        return Failure(type(error).__name__, str(error)[:_MESSAGE])


def wait_changes(live: LiveRun) -> WaitChanges | None:
    """What the records that are handed over now change of the run's waits; None: nothing."""
    state, dag = live.state, live.dag
    if state.phase in FINAL_RUN_STATES:
        return WaitChanges(is_over=True)
    waiting = state.unfolding.waits if state.unfolding is not None else {}
    begun: list[Wait] = []
    ended: list[str] = []
    is_over = False
    for record in live.records:
        match record:
            case TaskWaiting() if dag.index[record.task] in waiting:
                begun.append(_wait(live, record))
            case records.TaskSucceeded() | records.TaskFailed() | records.TaskSkipped() if record.attempt:
                if dag.index.get(record.task) in dag.waits:
                    ended.append(record.task)
            case records.CancelRequested():
                is_over = True  # no wait goes on, and none begins any more
            case _:
                pass
    if not (begun or ended or is_over):
        return None
    return WaitChanges(begun=begun, ended=ended, is_over=is_over)


def waiting_event(live: LiveRun, at: int) -> Event | None:
    """The event that tells that everything left of the run waits, where the records say so."""
    state = live.state
    if state.phase is not RunPhase.WAITING or not any(
        type(one) is records.RunWaiting for one in live.records
    ):
        return None
    assert state.unfolding is not None  # noqa: S101 - else it could not wait
    run = live.run
    return run_waiting(
        dag=run.dag,
        run_id=run.run_id,
        sequence=state.sequence,
        version=run.version,
        trigger=run.trigger,
        at_us=at,
        waits=[
            {"task": state.name(index), "due_at": due_at, **_told(detail)}
            for index, (due_at, detail) in sorted(state.unfolding.waits.items())
        ],
        correlation_id=run.correlation_id,
        causation_id=run.event_id,
        hop_count=run.hop_count + 1,
        traceparent=run.traceparent,
    )


def _told(detail: dict[str, object]) -> dict[str, object]:
    return {
        name: detail[name]
        for name in ("kind", "match", "approval", "title", "assignees", "run", "dag")
        if name in detail
    }


def _wait(live: LiveRun, record: TaskWaiting) -> Wait:
    detail = record.detail
    asked = None
    if "approval" in detail:
        asked = Asked(
            id=detail["approval"],
            dag=live.run.dag,
            title=detail["title"],
            form=orjson.dumps(detail["form"]),
            assignees=detail["assignees"],
            quorum=detail["quorum"],
            at=live.at,
        )
    return Wait(
        task=record.task,
        kind=detail["kind"],
        shard=live.run.shard,
        due_at=record.due_at,
        pattern=detail.get("pattern"),
        key=detail.get("key"),
        since=detail.get("since", 0),
        from_at=detail.get("from_at"),
        asked=asked,
    )
