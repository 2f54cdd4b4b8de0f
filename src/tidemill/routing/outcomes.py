"""What routing comes to: runs, dispositions, deliveries and dead letters, gathered for one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.errors import StorageError
from tidemill.events.digest import encode_for_log
from tidemill.events.event import Event, LoggedEvent
from tidemill.ids import new_id, run_id, shard_of
from tidemill.storage.contract import DeadLetter, Delivery, Disposition, DispositionKind, NewRun

__all__ = [
    "Routed",
    "Work",
    "WorkKind",
    "add_run",
    "contained",
    "correlation_of",
    "dead_letter",
    "hops",
    "letter_of",
    "lost",
    "run_id_of",
]


class WorkKind:
    """What admission has to do with an event."""

    ADMIT = 0
    CANCEL = 1
    ENDED = 2


#: Kind, trigger, event.
Work = tuple[int, str, LoggedEvent]


@dataclass(slots=True)
class Routed:
    """What routing a few events came to."""

    dispositions: list[Disposition] = field(default_factory=list)
    runs: list[NewRun] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    #: What is left to admission, in the order of the log.
    work: list[Work] = field(default_factory=list)
    #: Runs that are to be cancelled, and by what.
    cancels: list[tuple[str, str]] = field(default_factory=list)
    #: Correlation ids of which no event waits any more.
    freed: list[str] = field(default_factory=list)
    #: (correlation id, run) of runs that have ended, where trees are followed.
    tree_ends: list[tuple[str, str]] = field(default_factory=list)
    #: Subscriptions that were deleted.
    unsubscribed: list[str] = field(default_factory=list)
    #: Events that were derived, each with the time of that.
    derived: list[tuple[Event, int]] = field(default_factory=list)
    #: (key, position) of events that some run may wait for.
    waits: list[tuple[str, int]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True when nothing matched."""
        return not (
            self.dispositions
            or self.deliveries
            or self.cancels
            or self.tree_ends
            or self.unsubscribed
            or self.derived
            or self.dead_letters
            or self.waits
        )


@contextmanager
def contained(logged: LoggedEvent, trigger: str, at: int, into: Routed) -> Iterator[None]:
    """No event stops the stage: what nobody thought of becomes a dead letter like everything else."""
    try:
        yield
    except StorageError:
        raise  # says nothing about the event
    except Exception as error:
        detail = f"a mistake of ours: {type(error).__name__}: {error}"
        dead_letter(logged, trigger, "routing_failed", detail, at, into)


def run_id_of(trigger: str, logged: LoggedEvent) -> str:
    """The id of the run that an event starts by a trigger."""
    return run_id(trigger, logged.event.source, logged.event.id, logged.received_at)


def add_run(
    dag: Dag,
    trigger: str,
    logged: LoggedEvent,
    parameters: Mapping[str, Any],
    at: int,
    into: Routed,
    *,
    run: str | None = None,
    together: Sequence[LoggedEvent] = (),
    admission: str | None = None,
    version: str | None = None,
) -> str:
    """Add the run that an event starts, and return its id; `together` are its events, where it has several.

    `version` is that of the DAG, where it is not the current one.
    """
    event = logged.event
    run = run or run_id_of(trigger, logged)
    extensions = event.extensions
    into.runs.append(
        NewRun(
            run_id=run,
            dag=dag.dag_id,
            version=version or dag.version,
            trigger=trigger,
            position=logged.position,
            event_source=event.source,
            event_id=event.id,
            parameters=orjson.dumps(parameters) if parameters else b"{}",
            queued_at=at,
            correlation_id=correlation_of(event),
            hop_count=max((hops(one.event) for one in together), default=hops(event)),
            traceparent=_text(extensions.get("traceparent")),
            # Runs that count against one limit are one node's; without a limit they are spread over all.
            shard=shard_of(run if dag.max_active_runs is None else dag.dag_id),
            admission=admission,
        )
    )
    into.dispositions.append(Disposition(logged.position, trigger, DispositionKind.RUN, run))
    return run


def dead_letter(logged: LoggedEvent, trigger: str, code: str, detail: str, at: int, into: Routed) -> None:
    """Add a dead letter and the disposition that says so."""
    letter = letter_of(logged, trigger, code, detail, at)
    into.dead_letters.append(letter)
    into.dispositions.append(
        Disposition(logged.position, trigger, DispositionKind.DEAD_LETTERED, None, letter.id)
    )


def lost(logged: LoggedEvent, at: int, into: Routed) -> None:
    """Add a dead letter for an event whose data is lost: nobody can say which triggers it matches."""
    detail = f"the data is not at {logged.event.extensions['dataref']} any more, or not what it was"
    into.dead_letters.append(letter_of(logged, "", "data_lost", detail, at))


def letter_of(logged: LoggedEvent, origin: str, code: str, detail: str, at: int, **place: str) -> DeadLetter:
    """A logged event that could not go on at `origin` (a trigger or derivation); `place` adds to its coordinates."""
    return DeadLetter(
        id=new_id(),
        at=at,
        stage="routing",
        code=code,
        detail=detail,
        origin=origin,
        coordinates={
            "source": logged.event.source,
            "id": logged.event.id,
            "type": logged.event.type,
            **place,
        },
        body=encode_for_log(logged.event),
        position=logged.position,
    )


def correlation_of(event: Event) -> str:
    """What everything that an event causes is known together by."""
    return str(event.extensions.get("correlationid") or event.id)


def hops(event: Event) -> int:
    """How many runs have started each other up to this event."""
    found = event.extensions.get("hopcount", 0)
    if isinstance(found, str) and found.isdecimal():
        # The HTTP and Kafka bindings carry extensions as text; ten digits are too many hops in any case.
        return int(found.lstrip("0")[:10] or 0)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _text(value: object) -> str | None:
    return None if value is None else str(value)
