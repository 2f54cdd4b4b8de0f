"""What an analysis is answered with: the same shape for runs and DAGs, times in seconds."""

from __future__ import annotations

from pydantic import BaseModel, Field

from tidemill.api.progress import ProgressBody

__all__ = ["AnalysisBody", "BottleneckBody", "PathBody", "RunAnalysisBody", "TaskAnalysisBody", "WhatIfBody"]


class PathBody(BaseModel):
    """One task of the critical path."""

    task: str
    waiting_seconds: float = Field(description="From the end of what it waited for to its start.")
    working_seconds: float
    share: float = Field(description="Of the whole run, 0 to 1.")
    expected: bool = Field(description="Whether it has not ended, so that its end is expected and not known.")


class TaskAnalysisBody(BaseModel):
    """One task of the DAG, all its task runs together."""

    id: str
    state: str | None = Field(description="Null: it did not run.")
    starts_seconds: float = Field(
        description="From the run's start to its first attempt, or what is expected."
    )
    ends_seconds: float
    waiting_seconds: float
    working_seconds: float = Field(description="Sum over all attempts so far.")
    retry_waiting_seconds: float = Field(description="Between attempts.")
    expected_seconds: float | None = Field(description="Of one attempt.")
    learned: bool = Field(
        description="Whether that was learned; else it is what the DAG's tasks usually take."
    )
    slack_seconds: float = Field(description="How much later it could end without the run ending later.")
    critical: bool
    total: int = Field(description="Task runs, expected ones of a map whose items are not known yet.")
    done: int


class BottleneckBody(BaseModel):
    """What would shorten the run."""

    task: str
    kind: str = Field(description="work, queue, retries or limit.")
    seconds: float = Field(description="How much shorter the run would be without it, at the most.")
    advice: str


class WhatIfBody(BaseModel):
    """The run again with other slots or tasks, by list scheduling in rank order."""

    slots: int
    without: list[str]
    faster: dict[str, float]
    before_seconds: float = Field(description="Unchanged, on as many slots as the service has.")
    after_seconds: float
    saved_seconds: float
    lower_bound_seconds: float = Field(description="No order can be faster with these changes.")


class AnalysisBody(BaseModel):
    """What decides how long a run takes."""

    dag: str
    version: str
    length_seconds: float = Field(description="From start to end, the expected end while it goes on.")
    shortest_seconds: float = Field(description="The same if nobody ever waited for a slot.")
    working_seconds: float = Field(description="Sum over all attempts.")
    waiting_seconds: float = Field(description="Sum over all tasks of what they waited for slots.")
    critical_path: list[PathBody]
    tasks: list[TaskAnalysisBody]
    bottlenecks: list[BottleneckBody] = Field(description="The costliest first.")
    what_if: WhatIfBody | None


class RunAnalysisBody(AnalysisBody):
    """What decides how long this run takes, or took."""

    run: str
    state: str
    remaining_seconds: float | None = Field(description="Expected time to the end; null unless it goes on.")
    ends_at: str | None
    progress: ProgressBody
