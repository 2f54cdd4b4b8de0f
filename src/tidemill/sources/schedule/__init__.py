"""Schedules as a source: ticks of DAGs and of `schedule` sources become events, told once each."""

from tidemill.sources.schedule.sources import NamedScheduleStage, ScheduleSourceStage

__all__ = ["NamedScheduleStage", "ScheduleSourceStage"]
