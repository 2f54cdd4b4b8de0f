"""A run asked for by hand: its parameters are checked here, then it goes through the log like every run."""

from __future__ import annotations

import asyncio
from typing import Any

from tidemill.api.parts import Parts
from tidemill.api.problems import Invalid
from tidemill.api.runs import EventReference, RunBody, body_of
from tidemill.clock import rfc3339
from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError
from tidemill.errors import Overloaded, StateConflict, StoreUnavailable
from tidemill.events import lifecycle
from tidemill.events.event import LoggedEvent
from tidemill.ids import new_id, run_id
from tidemill.runs.state import RunPhase
from tidemill.storage.contract import Append, Disposition, DispositionKind

__all__ = ["TRIGGER", "start"]

#: Trigger name of runs asked for by hand.
TRIGGER = "manual"
#: How long the answer waits for the run to be routed, in seconds.
WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.02


async def start(parts: Parts, dag: Dag, *, parameters: dict[str, Any], key: str | None) -> RunBody:
    """Append the request for a run and answer with the run; the request is durable then.

    Idempotent by (DAG, `key`): the same key with the same parameters is the same run. Raises `Invalid` with
    every parameter that is wrong, `EventRejected` (`id_reused`), `Overloaded`, `StorageError`.
    """
    checked = _check(dag, parameters)
    log = parts.store.log
    retry_after = log.overload()
    if retry_after is not None:
        raise Overloaded("backlog_full", "the backlog is full; nothing was stored", retry_after=retry_after)
    # With a key the event carries no time: asking again must be the same event, not an id with other content.
    event = lifecycle.dag_requested(
        dag=dag.dag_id,
        parameters=parameters,
        id=key or new_id(),
        by="api",
        at_us=None if key else parts.clock.now_us(),
    )
    (answer,) = await log.append(Append(events=[event], stage="api", origin=dag.dag_id))
    logged = await log.get(answer.position)
    if logged is None:
        raise StoreUnavailable("the request is on disk but cannot be read back")
    expected = run_id(TRIGGER, event.source, event.id, logged.received_at)
    if not await _wait_for_routing(parts, logged):
        return _queued(dag, checked, logged, expected)
    run = await parts.store.runs.get(expected)
    return _queued(dag, checked, logged, expected) if run is None else body_of(run)


def _check(dag: Dag, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the run will have them."""
    try:
        checked: dict[str, Any] = dag.parameters.validate(parameters)
    except ParameterError as error:
        problems = [{"location": name, "detail": message} for name, message in error.problems]
        raise Invalid("invalid_parameters", "the parameters do not fit the dag", problems) from error
    return checked


async def _wait_for_routing(parts: Parts, logged: LoggedEvent) -> bool:
    """Whether the request was routed in time; raises `StateConflict` when that gave no run."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            # A routing decision wakes nobody who waits for the log, so this looks again and again.
            while (found := await _disposition(parts, logged.position)) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return False
    if found.kind is not DispositionKind.RUN:
        raise StateConflict(f"the run was not started: {found.kind} {found.detail}".rstrip())
    return True


async def _disposition(parts: Parts, position: int) -> Disposition | None:
    found = await parts.store.runs.dispositions(position)
    return next((each for each in found if each.trigger == TRIGGER), None)


def _queued(dag: Dag, parameters: dict[str, Any], logged: LoggedEvent, expected: str) -> RunBody:
    """The run as it will be, when routing has not come to it yet."""
    return RunBody(
        id=expected,
        dag=dag.dag_id,
        version=dag.version,
        state=RunPhase.QUEUED,
        trigger=TRIGGER,
        event=EventReference(source=logged.event.source, id=logged.event.id, position=logged.position),
        parameters=parameters,
        queued_at=rfc3339(logged.received_at),
        started_at=None,
        ended_at=None,
    )
