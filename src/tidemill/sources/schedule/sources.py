"""The two kinds of schedules: those of DAGs, told together, and those that stand in `triggers/`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from tidemill.clock import Clock, to_us
from tidemill.dag.definition import Dag, Schedule
from tidemill.dag.schedule import interval_of
from tidemill.events import lifecycle
from tidemill.events.event import Event
from tidemill.project.model import ScheduleSource
from tidemill.sources.schedule.line import Line
from tidemill.sources.schedule.stage import TickStage
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["NamedScheduleStage", "ScheduleSourceStage"]


class ScheduleSourceStage(TickStage):
    """The schedules of all DAGs: a tick starts its DAG."""

    def __init__(
        self, dags: Sequence[Dag], log: EventLog, ledger: Ledger, *, clock: Clock, **waiting: float
    ) -> None:
        lines = [
            Line(
                dag.dag_id,
                dag.schedule,
                f"schedule/{dag.dag_id}",
                partial(_dag_event, dag.dag_id, dag.schedule),
            )
            for dag in dags
            if dag.schedule is not None
        ]
        super().__init__("schedule", lines, log, ledger, clock=clock, **waiting)


class NamedScheduleStage(TickStage):
    """One schedule of `triggers/`: a tick is an event like any other."""

    def __init__(
        self, spec: ScheduleSource, log: EventLog, ledger: Ledger, *, clock: Clock, **waiting: float
    ) -> None:
        # Not below "schedule/": a source may have the name of a DAG.
        line = Line(spec.name, spec.schedule, f"tick/{spec.name}", partial(_source_event, spec))
        super().__init__(spec.name, [line], log, ledger, clock=clock, **waiting)


def _dag_event(dag: str, schedule: Schedule, tick: datetime) -> Event:
    begin, end = interval_of(schedule, tick)
    return lifecycle.schedule_tick(
        dag=dag,
        scheduled_at_us=to_us(tick),
        interval_start_us=to_us(begin),
        interval_end_us=to_us(end),
    )


def _source_event(spec: ScheduleSource, tick: datetime) -> Event:
    begin, end = interval_of(spec.schedule, tick)
    return lifecycle.source_tick(
        name=spec.name,
        type=spec.event_type,
        source=spec.event_source,
        scheduled_at_us=to_us(tick),
        interval_start_us=to_us(begin),
        interval_end_us=to_us(end),
    )
