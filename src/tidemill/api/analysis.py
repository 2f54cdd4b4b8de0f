"""`/api/v1/runs/{id}/analysis` and `/api/v1/dags/{id}/analysis`: what decides how long a run takes, what would help.

Nothing is decided here: histories and what was learned of durations are read, the core works it out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query

from tidemill.api.analysis_bodies import (
    AnalysisBody,
    BottleneckBody,
    PathBody,
    RunAnalysisBody,
    TaskAnalysisBody,
    WhatIfBody,
)
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.problems import Invalid
from tidemill.api.progress import graph_of, models_of, progress_body, slots_of
from tidemill.clock import rfc3339
from tidemill.dag.binding import resolve
from tidemill.dag.definition import Dag, TaskNode
from tidemill.errors import NotFound, TaskFailed
from tidemill.runs.analysis import Analysis, TaskAnalysis, analyse
from tidemill.runs.durations import TaskModel, size_of
from tidemill.runs.outlook import Outlook, outlook_of, work_of
from tidemill.runs.progress import RunProgress
from tidemill.runs.view import task_views
from tidemill.runs.what_if import Order, Work, changed, lower_bound, simulate
from tidemill.storage.contract import RunSummary

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["analysis"])

#: Beyond so many task runs a simulation would take seconds.
_MOST_TASK_RUNS = 200_000


@dataclass(frozen=True, slots=True)
class _Question:
    slots: int | None
    without: Sequence[str]
    faster: Mapping[str, float]

    @property
    def is_asked(self) -> bool:
        return self.slots is not None or bool(self.without or self.faster)


SlotsQuery = Annotated[
    int | None, Query(ge=1, le=1_000_000, description="What if so many task runs could run at once.")
]
WithoutQuery = Annotated[
    list[str] | None, Query(max_length=100, description="What if this task took no time.")
]
FasterQuery = Annotated[
    list[str] | None,
    Query(max_length=100, description="TASK=SHARE: what if this task took that share of its time."),
]


@router.get("/runs/{run_id}/analysis", summary="Analyse a run")
async def analyse_run(
    parts: GivenParts,
    run_id: Annotated[str, Path(max_length=64, description="Id of the run.")],
    slots: SlotsQuery = None,
    without: WithoutQuery = None,
    faster: FasterQuery = None,
) -> RunAnalysisBody:
    """Critical path, slack, waiting, bottlenecks and what would shorten it; the expected end while it goes on."""
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    question = _question(slots, without, faster)
    dag, models = await graph_of(parts, run), await models_of(parts, run.dag)
    history = await parts.store.runs.history(run_id)
    sizes = await asyncio.to_thread(_sizes, dag, run, history)
    outlook = _outlook(parts, dag, models, sizes)
    progress, found = await asyncio.to_thread(_analysed, dag, history, outlook, parts.clock.now_us())
    members = await _members(parts, dag, progress, outlook, found, question)
    body = progress_body(parts, progress, outlook)
    ends_at = progress.ended_at
    if found.remaining is not None:
        ends_at = parts.clock.now_us() + round(found.remaining * 1_000_000)
    return RunAnalysisBody(
        **{**members, "dag": run.dag, "version": run.version},
        run=run_id,
        state=run.state,
        remaining_seconds=_rounded(found.remaining),
        ends_at=None if ends_at is None else rfc3339(ends_at),
        progress=body,
    )


@router.get("/dags/{dag_id}/analysis", summary="Analyse a DAG")
async def analyse_dag(
    parts: GivenParts,
    dag_id: Annotated[str, Path(max_length=256, description="Id of the DAG.")],
    slots: SlotsQuery = None,
    without: WithoutQuery = None,
    faster: FasterQuery = None,
) -> AnalysisBody:
    """The same for a run that would begin now and find every slot free, by what was learned of its tasks."""
    dag = parts.project().dags.get(dag_id)
    if dag is None:
        raise NotFound("dag", dag_id)
    question = _question(slots, without, faster)
    outlook = _outlook(parts, dag, await models_of(parts, dag_id), {})
    progress = RunProgress(dag)
    return AnalysisBody(**await _members(parts, dag, progress, outlook, analyse(progress, outlook), question))


def _question(slots: int | None, without: list[str] | None, faster: list[str] | None) -> _Question:
    shares: dict[str, float] = {}
    for text in faster or []:
        task, _, share = text.rpartition("=")
        try:
            shares[task] = float(share)
        except ValueError:
            shares[task] = math.nan
        if not task or not 0 <= shares[task] <= 1000:
            raise _refused(
                "faster", f"{text!r} is not TASK=SHARE with a share from 0 to 1000, such as load=0.5"
            )
    return _Question(slots, without or [], shares)


def _refused(place: str, detail: str) -> Invalid:
    problem = {"location": f"query: {place}", "detail": detail}
    return Invalid("invalid_request", "the question cannot be answered", [problem])


def _outlook(parts: Parts, dag: Dag, models: Mapping[str, TaskModel], sizes: Mapping[str, float]) -> Outlook:
    names = [node.task_id for node in dag.tasks]
    return outlook_of(names, models, dag=dag, slots=slots_of(parts.settings), sizes=sizes)


def _analysed(
    dag: Dag, history: Sequence[tuple[int, int, bytes]], outlook: Outlook, now: int
) -> tuple[RunProgress, Analysis]:
    progress = RunProgress(dag)
    progress.follow(history)
    return progress, analyse(progress, outlook, now=now)


async def _members(
    parts: Parts, dag: Dag, progress: RunProgress, outlook: Outlook, found: Analysis, question: _Question
) -> dict[str, Any]:
    """Members of an answer that runs and DAGs share."""
    what_if = None
    if question.is_asked:
        work, index = work_of(progress, outlook, limit=dag.max_active_tasks)
        if sum(work.copies.values()) > _MOST_TASK_RUNS:
            raise _refused("slots", f"there are more than {_MOST_TASK_RUNS} task runs to simulate")
        slots = max(
            slots_of(parts.settings).get(name, 1)
            for name in {node.executor for node in dag.tasks} or {"loop"}
        )
        what_if = await asyncio.to_thread(_answer, work, index, slots, question)
    return {
        "dag": dag.dag_id,
        "version": dag.version,
        "length_seconds": _rounded(found.length),
        "shortest_seconds": _rounded(found.shortest),
        "working_seconds": _rounded(found.working),
        "waiting_seconds": _rounded(found.waiting),
        "critical_path": [
            PathBody(
                task=step.task,
                waiting_seconds=round(step.waiting, 6),
                working_seconds=round(step.working, 6),
                share=round(step.share, 4),
                expected=step.is_expected,
            )
            for step in found.critical_path
        ],
        "tasks": [_task(task) for task in found.tasks],
        "bottlenecks": [
            BottleneckBody(**{**asdict(one), "seconds": round(one.seconds, 6)}) for one in found.bottlenecks
        ],
        "what_if": what_if,
    }


def _answer(work: Work, index: Mapping[str, int], slots: int, question: _Question) -> WhatIfBody:
    before = simulate([work], slots, order=Order.RANK).makespan
    try:
        other = changed(work, index, without=question.without, faster=question.faster)
    except KeyError as error:
        raise _refused("without, faster", f"the DAG has no task {error.args[0]!r}") from error
    given = question.slots or slots
    after = simulate([other], given, order=Order.RANK).makespan
    return WhatIfBody(
        slots=given,
        without=list(question.without),
        faster=dict(question.faster),
        before_seconds=round(before, 6),
        after_seconds=round(after, 6),
        saved_seconds=round(before - after, 6),
        lower_bound_seconds=round(lower_bound([other], given), 6),
    )


def _task(task: TaskAnalysis) -> TaskAnalysisBody:
    return TaskAnalysisBody(
        id=task.task,
        state=task.state,
        starts_seconds=round(task.starts, 6),
        ends_seconds=round(task.ends, 6),
        waiting_seconds=round(task.waiting, 6),
        working_seconds=round(task.working, 6),
        retry_waiting_seconds=round(task.retry_waiting, 6),
        expected_seconds=_rounded(task.expected),
        learned=task.is_known,
        slack_seconds=round(task.slack, 6),
        critical=task.is_critical,
        total=task.total,
        done=task.done,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _sizes(dag: Dag, run: RunSummary, history: Sequence[tuple[int, int, bytes]]) -> dict[str, float]:
    """Sizes of the inputs of tasks that say what they depend on, as far as the inputs are known."""
    asking = [node for node in dag.tasks if node.policy.size_by is not None and node.mapped is None]
    if not asking:
        return {}
    views = {view.task_id: view for view in task_views(dag, history, most_task_runs=0)}
    results = {
        node.index: orjson.loads(text)
        for node in dag.tasks
        if (text := views[node.task_id].result) is not None
    }
    parameters = orjson.loads(run.parameters) if run.parameters else {}
    found = {node.task_id: _size(node, results, parameters) for node in asking}
    return {task: size for task, size in found.items() if size is not None}


def _size(node: TaskNode, results: Mapping[int, Any], parameters: Mapping[str, Any]) -> float | None:
    try:
        args, kwargs = resolve(node, results, parameters)
    except (LookupError, TaskFailed):
        return None  # not known yet
    name = node.policy.size_by or ""
    code = getattr(node.function, "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    if name in kwargs:
        return size_of(kwargs[name])
    place = names.index(name) if name in names else len(args)
    return size_of(args[place]) if place < len(args) else None
