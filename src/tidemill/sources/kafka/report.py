"""How a Kafka source is doing: its state and counts since the process started."""

from __future__ import annotations

from tidemill.clock import Clock
from tidemill.sources.report import SourceReport

__all__ = ["Report"]


class Report(SourceReport):
    """Written by the stage's parts, read by its status."""

    def __init__(self, name: str, *, clock: Clock) -> None:
        super().__init__(name, kind="kafka", clock=clock)
