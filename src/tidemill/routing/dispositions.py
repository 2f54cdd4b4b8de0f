"""What becomes of one event: pure decisions that the router gathers into batches.

Each trigger that matches gets exactly one disposition: a run, or the dead letter that says why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError
from tidemill.events.digest import encode_for_log
from tidemill.events.event import Event, LoggedEvent
from tidemill.events.lifecycle import Type
from tidemill.ids import new_id, run_id, shard_of
from tidemill.patterns.index import Index
from tidemill.project.lookups import event_lookup
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project, Trigger
from tidemill.storage.contract import DeadLetter, Delivery, Disposition, DispositionKind, NewRun

__all__ = ["Routed", "Routes"]

_MAX_HOPS_CODE = "loop_limit"
#: Events of our own that name their DAG as subject, and the trigger they stand for.
_ADDRESSED = {
    Type.SCHEDULE_TICK.value: "schedule",
    Type.DAG_REQUESTED.value: "manual",
    Type.RETRY_REQUESTED.value: "retry",
}


@dataclass(slots=True)
class Routed:
    """What routing a few events came to."""

    dispositions: list[Disposition] = field(default_factory=list)
    runs: list[NewRun] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True when nothing matched."""
        return not (self.dispositions or self.deliveries)


class Routes:
    """The triggers and subscriptions of a project, ready to be matched."""

    def __init__(self, project: Project, *, max_hops: int) -> None:
        self._dags = project.dags
        self._max_hops = max_hops
        self._triggers = Index({trigger.name: trigger.rule for trigger in project.triggers})
        self._by_name = {trigger.name: trigger for trigger in project.triggers}
        self._subscriptions = Index({one.name: one.rule for one in project.subscriptions})

    def route(self, logged: LoggedEvent, at: int, into: Routed) -> None:
        """Match one event and add what follows from it to `into`."""
        event = logged.event
        addressed = _ADDRESSED.get(event.type)
        if addressed is not None:
            with _contained(logged, addressed, at, into):
                self._start_addressed(logged, addressed, at, into)
        for name in self._triggers.match(event):
            with _contained(logged, name, at, into):
                self._start(self._by_name[name], logged, at, into)
        for name in self._subscriptions.match(event):
            into.deliveries.append(Delivery(subscription=name, position=logged.position, due_at=at))

    def _start(self, trigger: Trigger, logged: LoggedEvent, at: int, into: Routed) -> None:
        if trigger.paused:
            into.dispositions.append(Disposition(logged.position, trigger.name, DispositionKind.PAUSED))
            return
        if _hops(logged.event) > self._max_hops:
            detail = f"a chain of more than {self._max_hops} runs that start each other was stopped"
            _dead_letter(logged, trigger.name, _MAX_HOPS_CODE, detail, at, into)
            return
        dag = self._dags[trigger.dag]
        try:
            values = (
                {} if trigger.parameters is None else trigger.parameters.evaluate(event_lookup(logged.event))
            )
            parameters = dag.parameters.validate(values)
        except MappingFailed as error:
            _dead_letter(logged, trigger.name, "mapping_failed", str(error), at, into)
        except ParameterError as error:
            _dead_letter(logged, trigger.name, "invalid_parameters", str(error), at, into)
        else:
            _add_run(dag, trigger.name, logged, parameters, at, into)

    def _start_addressed(self, logged: LoggedEvent, trigger: str, at: int, into: Routed) -> None:
        event = logged.event
        dag = self._dags.get(event.subject or "")
        if dag is None:
            _dead_letter(logged, trigger, "unknown_dag", f"there is no DAG {event.subject!r}", at, into)
            return
        asked = event.data.get("parameters") if isinstance(event.data, dict) else None
        values: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
        try:
            parameters = dag.parameters.validate(values)
        except ParameterError as error:
            _dead_letter(logged, trigger, "invalid_parameters", str(error), at, into)
        else:
            _add_run(dag, trigger, logged, parameters, at, into)


@contextmanager
def _contained(logged: LoggedEvent, trigger: str, at: int, into: Routed) -> Iterator[None]:
    """No event stops the stage: what nobody thought of becomes a dead letter like everything else."""
    try:
        yield
    except Exception as error:
        detail = f"a mistake of ours: {type(error).__name__}: {error}"
        _dead_letter(logged, trigger, "routing_failed", detail, at, into)


def _add_run(
    dag: Dag, trigger: str, logged: LoggedEvent, parameters: Mapping[str, Any], at: int, into: Routed
) -> None:
    event = logged.event
    run = run_id(trigger, event.source, event.id, logged.received_at)
    extensions = event.extensions
    into.runs.append(
        NewRun(
            run_id=run,
            dag=dag.dag_id,
            version=dag.version,
            trigger=trigger,
            position=logged.position,
            event_source=event.source,
            event_id=event.id,
            parameters=orjson.dumps(parameters) if parameters else b"{}",
            queued_at=at,
            correlation_id=str(extensions.get("correlationid") or event.id),
            hop_count=_hops(event),
            traceparent=_text(extensions.get("traceparent")),
            # Runs that count against one limit are one node's; without a limit they are spread over all.
            shard=shard_of(run if dag.max_active_runs is None else dag.dag_id),
        )
    )
    into.dispositions.append(Disposition(logged.position, trigger, DispositionKind.RUN, run))


def _dead_letter(logged: LoggedEvent, trigger: str, code: str, detail: str, at: int, into: Routed) -> None:
    letter = DeadLetter(
        id=new_id(),
        at=at,
        stage="routing",
        code=code,
        detail=detail,
        origin=trigger,
        coordinates={"source": logged.event.source, "id": logged.event.id, "type": logged.event.type},
        body=encode_for_log(logged.event),
        position=logged.position,
    )
    into.dead_letters.append(letter)
    into.dispositions.append(
        Disposition(logged.position, trigger, DispositionKind.DEAD_LETTERED, None, letter.id)
    )


def _hops(event: Event) -> int:
    hops = event.extensions.get("hopcount", 0)
    if isinstance(hops, str) and hops.isdecimal():
        # The HTTP and Kafka bindings carry extensions as text; ten digits are too many hops in any case.
        return int(hops.lstrip("0")[:10] or 0)
    return hops if isinstance(hops, int) and not isinstance(hops, bool) and hops > 0 else 0


def _text(value: object) -> str | None:
    return None if value is None else str(value)
