"""One trigger with what stands between its events and its runs."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.dag.definition import Dag
from tidemill.project.model import Trigger
from tidemill.routing.admission.keys import MemberReader
from tidemill.routing.admission.pipeline import Pipeline

__all__ = ["Entry"]


@dataclass(slots=True)
class Entry:
    """A trigger, its DAG, its pipeline, and how its events are read."""

    trigger: Trigger
    dag: Dag
    pipeline: Pipeline
    reader: MemberReader
