"""Runs asked for by hand, anew or as a retry: checked here, then through the log like every run."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tidemill.api.parts import Parts
from tidemill.api.problems import Invalid
from tidemill.api.run_bodies import EventReference, RunBody, body_of
from tidemill.clock import rfc3339
from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError
from tidemill.errors import Overloaded, StateConflict, StoreUnavailable
from tidemill.events import lifecycle
from tidemill.events.event import Event, LoggedEvent
from tidemill.ids import new_id, run_id
from tidemill.runs.state import RunPhase
from tidemill.storage.contract import Append, Disposition, DispositionKind, RunSummary

__all__ = ["RETRY", "answer", "append", "check", "retry", "start"]

#: Trigger names of runs asked for by hand, as routing gives them.
MANUAL, RETRY = "manual", "retry"
#: How long an answer waits for the run to be routed, in seconds.
_WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.02
#: Retries of one run, one after the other.
_MAX_RETRIES = 1000


async def start(parts: Parts, dag: Dag, *, parameters: dict[str, Any], key: str | None) -> RunBody:
    """Append the request for a run and answer with the run; the request is durable then.

    Idempotent by (DAG, `key`): the same key with the same parameters is the same run. Raises `Invalid` with
    every parameter that is wrong, `EventRejected` (`id_reused`), `StateConflict`, `Overloaded` and
    `StorageError`.
    """
    checked = check(dag, parameters)
    # With a key the event carries no time: asking again must be the same event, not an id with other content.
    event = lifecycle.dag_requested(
        dag=dag.dag_id,
        parameters=parameters,
        id=key or new_id(),
        by="api",
        at_us=None if key else parts.clock.now_us(),
    )
    logged = await append(parts, event)
    return await answer(parts, logged, trigger=MANUAL, dag=dag, parameters=checked)


async def retry(parts: Parts, run: RunSummary) -> RunBody:
    """Ask for a run that takes over what `run` has done, and answer with it; the request is durable then.

    Idempotent while that run goes on: asking again gives the same one. Only when it ended without success
    does asking again start the next. Raises as `start` does.
    """
    dag = parts.project().dags.get(run.dag)
    if dag is None:
        raise StateConflict("the project no longer has the run's dag")
    parameters = orjson.loads(run.parameters)
    source = lifecycle.dag_source(run.dag)
    for number in range(1, _MAX_RETRIES):
        key = f"{run.run_id}/{RETRY}/{number}"
        logged = await parts.store.log.find(source, key)
        if logged is not None and await _failed(parts, logged):
            continue
        if logged is None:
            event = lifecycle.retry_requested(
                dag=run.dag, run_id=run.run_id, parameters=parameters, id=key, by="api"
            )
            logged = await append(parts, event)
        return await answer(parts, logged, trigger=RETRY, dag=dag, parameters=parameters)
    raise StateConflict(f"the run was retried {_MAX_RETRIES} times")


def check(dag: Dag, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the run will have them; raises `Invalid` with every one that is wrong."""
    try:
        checked: dict[str, Any] = dag.parameters.validate(parameters)
    except ParameterError as error:
        problems = [{"location": name, "detail": message} for name, message in error.problems]
        raise Invalid("invalid_parameters", "the parameters do not fit the dag", problems) from error
    return checked


async def append(parts: Parts, event: Event) -> LoggedEvent:
    """The request, on disk; raises `Overloaded`, `EventRejected` (`id_reused`) and `StorageError`."""
    log = parts.store.log
    retry_after = log.overload()
    if retry_after is not None:
        raise Overloaded("backlog_full", "the backlog is full; nothing was stored", retry_after=retry_after)
    (answer,) = await log.append(Append(events=[event], stage="api", origin=event.subject or ""))
    logged = await log.get(answer.position)
    if logged is None:
        raise StoreUnavailable("the request is on disk but cannot be read back")
    return logged


async def _failed(parts: Parts, logged: LoggedEvent) -> bool:
    """Whether an earlier request came to nothing: its run ended without success, or there is none."""
    found = await _disposition(parts, logged.position, RETRY)
    if found is None or found.run_id is None:
        return found is not None
    run = await parts.store.runs.get(found.run_id)
    return run is not None and run.state in (RunPhase.FAILED, RunPhase.CANCELLED)


async def answer(
    parts: Parts, logged: LoggedEvent, *, trigger: str, dag: Dag, parameters: dict[str, Any]
) -> RunBody:
    """The run that routing made of the request, or the run as it will be where routing is slow or not running."""
    found = await _wait_for_routing(parts, logged.position, trigger) if parts.ready() else None
    if found is not None and found.run_id is not None:
        run = await parts.store.runs.get(found.run_id)
        if run is not None:
            return body_of(run)
    return RunBody(
        id=run_id(trigger, logged.event.source, logged.event.id, logged.received_at),
        dag=dag.dag_id,
        version=dag.version,
        state=RunPhase.QUEUED,
        trigger=trigger,
        event=EventReference(source=logged.event.source, id=logged.event.id, position=logged.position),
        parameters=parameters,
        queued_at=rfc3339(logged.received_at),
        started_at=None,
        ended_at=None,
    )


async def _wait_for_routing(parts: Parts, position: int, trigger: str) -> Disposition | None:
    """What routing made of the request, None when that takes long; `StateConflict` when it gave no run."""
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            # A routing decision wakes nobody who waits for the log, so this looks again and again.
            while (found := await _disposition(parts, position, trigger)) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return None
    if found.kind is not DispositionKind.RUN:
        raise StateConflict(f"the request gave no run: {found.kind} ({found.detail})")
    return found


async def _disposition(parts: Parts, position: int, trigger: str) -> Disposition | None:
    found = await parts.store.runs.dispositions(position)
    return next((each for each in found if each.trigger == trigger), None)
