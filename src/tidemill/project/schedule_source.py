"""Builds schedules that stand in `triggers/`: sources whose events are ticks."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidemill.dag.schedule import parse_schedule
from tidemill.events import lifecycle
from tidemill.project.entry import Entry
from tidemill.project.model import ScheduleSource
from tidemill.project.structure import check_choice
from tidemill.project.trigger_file import ScheduleForm

__all__ = ["build_schedule", "check_schedule"]

_WAYS = ("cron", "every", "at")


def check_schedule(entry: Entry) -> None:
    """Note it unless exactly one way of saying when is written."""
    written = entry.get("schedule")
    if isinstance(written, dict):
        inner = Entry(entry.file, entry.text, entry.pointer + "/schedule", written, entry.problems)
        check_choice(inner, *_WAYS)


def build_schedule(entry: Entry, form: ScheduleForm) -> ScheduleSource | None:
    """The entry's source; None when its schedule is wrong, with every problem noted."""
    called, written = next((way, value) for way in _WAYS if (value := getattr(form, way)) is not None)
    when: str | timedelta | datetime = written
    schedule, problems = parse_schedule(
        when,
        start_date=form.start_date,
        end_date=form.end_date,
        catchup=form.catchup,
        timezone=form.timezone,
        misfire=form.misfire,
        jitter=form.jitter,
        called=called,
    )
    for message in problems:
        field = next((name for name in ScheduleForm.model_fields if message.startswith(f"{name} ")), called)
        entry.problem(
            f"/schedule/{field}" if entry.get("schedule", field) is not None else "/schedule", message
        )
    if schedule is None:
        return None
    return ScheduleSource(
        name=entry.name,
        schedule=schedule,
        event_type=form.type or lifecycle.Type.SOURCE_TICK.value,
        event_source=form.source or f"/tidemill/sources/{entry.name}",
        file=entry.file,
        line=entry.line,
    )
