"""What the live triggers would do with an event: whether they match, why, and with which parameters. Nothing is done.

What runs code of the project (look-ups, own reducers) is not run: then what it would give is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel, Field

from tidemill.api.admission_steps import steps_of
from tidemill.api.explanations import ExplanationBody, explained
from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError
from tidemill.events.event import Event
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Trigger
from tidemill.project.starting import group_lookup, start_parameters, why_unknown

__all__ = ["Trial", "try_trigger"]


class Trial(BaseModel):
    """One trigger and an event that it was tried with."""

    trigger: str
    explanation: ExplanationBody
    paused: bool
    dag: str = Field(description="The DAG that it would start.")
    parameters: Any = Field(
        description="With which parameters; null where it would not, or that is not known."
    )
    problem: str | None = Field(description="Why no run could be made of it.")
    unknown: str | None = Field(description="Why its parameters are not known here.")
    admission: list[str] = Field(description="What would stand before its run, in order.")


def try_trigger(
    trigger: Trigger, dag: Dag, event: Event, *, written: Mapping[str, Any], paused: bool
) -> Trial:
    """What `trigger` would do with `event`."""
    explanation = explained(trigger.rule, event)
    parameters, problem, unknown = None, None, None
    if explanation.matched:
        unknown = why_unknown(trigger)
        if unknown is None:
            parameters, problem = _parameters(trigger, dag, event)
    steps = steps_of(written, event, disposition=None, held=None)
    return Trial(
        trigger=trigger.name,
        explanation=explanation,
        paused=paused,
        dag=trigger.dag,
        parameters=parameters,
        problem=problem,
        unknown=unknown,
        admission=[f"{step.stage}: {step.told}" for step in steps],
    )


def _parameters(trigger: Trigger, dag: Dag, event: Event) -> tuple[Any, str | None]:
    try:
        parameters = start_parameters(trigger, dag, group_lookup(trigger, [event]))
        # As they come back from the database.
        return orjson.loads(orjson.dumps(parameters)), None
    except MappingFailed as error:
        return None, f"mapping_failed: {error}"
    except ParameterError as error:
        return None, f"invalid_parameters: {error}"
