"""A scenario as a project: real DAGs whose functions ask the world what to do, real trigger files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from tidemill.dag.context import Context
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.decorators import branch, dag, task
from tidemill.dag.waits import sleep, wait_for_event
from tidemill.project.model import Project
from tidemill.testing.project import make_project
from tidemill.testing.simulation.scenario import DagSpec, Scenario, TaskSpec, TriggerSpec

__all__ = ["Act", "ActPlainly", "project_of"]

#: What a coroutine task does.
Act = Callable[[Context, list[Any]], Awaitable[Any]]
#: What a plain task does: its executor has let time pass.
ActPlainly = Callable[[Context, list[Any]], Any]


def project_of(scenario: Scenario, folder: Path, *, act: Act, act_plainly: ActPlainly) -> Project:
    """The project; its trigger file is written into `folder`."""
    document = {
        "triggers": [_trigger(trigger) for trigger in scenario.triggers],
        "subscriptions": [
            {
                "name": one.name,
                "filters": [{"prefix": {"type": one.prefix}}],
                "webhook": {"url": "http://127.0.0.1:9/receiver"},
                "ordered": one.ordered,
                "max_attempts": one.max_attempts,
            }
            for one in scenario.subscriptions
        ],
    }
    dags = [_dag(spec, act, act_plainly) for spec in scenario.dags]
    # JSON is YAML.
    return make_project(folder, dags=dags, root=None, triggers=orjson.dumps(document).decode())


def _trigger(spec: TriggerSpec) -> dict[str, Any]:
    match = {"type": list(spec.types)} | ({} if spec.source is None else {"source": [spec.source]})
    entry: dict[str, Any] = {"name": spec.name, "dag": spec.dag, "pattern": match}
    if spec.source is None and "join" not in spec.admission:
        entry["parameters"] = {"number": "$.data.number"}
    if spec.admission:
        entry["admission"] = dict(spec.admission)
    if "join" in spec.admission:
        join = dict(spec.admission["join"])
        join["of"] = [
            {"name": f"of{place}", "pattern": {"type": [one]}} for place, one in enumerate(join["of"])
        ]
        entry["admission"] = {"join": join}
    return entry


def _dag(spec: DagSpec, act: Act, act_plainly: ActPlainly) -> DagDefinition:
    tasks = {one.name: _task(one, act, act_plainly) for one in spec.tasks}

    def flow(number: int = 0) -> Any:
        outputs: dict[str, Any] = {}
        for one in spec.tasks:
            given = [outputs[name] for name in one.upstream if name != one.over]
            if one.wait is not None:
                outputs[one.name] = _wait(one, [outputs[name] for name in one.upstream])
            elif one.over is not None:
                outputs[one.name] = tasks[one.name].partial(given=given).expand(item=outputs[one.over])
            else:
                outputs[one.name] = tasks[one.name](given=given or [number])
        return outputs[spec.tasks[-1].name]

    return dag(
        dag_id=spec.name,
        max_active_runs=spec.max_active_runs,
        max_active_tasks=spec.max_active_tasks,
        schedule=None if spec.every is None else timedelta(seconds=spec.every),
    )(flow)


def _wait(spec: TaskSpec, after: list[Any]) -> Any:
    """A node that waits by itself, once its turn has come."""
    if spec.wait == "sleep":
        return sleep(spec.wait_seconds, task_id=spec.name, trigger_rule=spec.rule, depends_on=after)
    return wait_for_event(
        {"type": [spec.wanted]},
        match={"data.key": spec.key} if spec.key else None,
        timeout=spec.wait_seconds,
        on_timeout="skip",
        task_id=spec.name,
        trigger_rule=spec.rule,
        depends_on=after,
    )


def _task(spec: TaskSpec, act: Act, act_plainly: ActPlainly) -> Any:
    async def coroutine(context: Context, given: list[Any]) -> Any:
        return await act(context, given)

    def plain(context: Context, given: list[Any]) -> Any:
        return act_plainly(context, given)

    async def mapped(context: Context, given: list[Any], item: Any) -> Any:
        return await act(context, [*given, item])

    def mapped_plainly(context: Context, given: list[Any], item: Any) -> Any:
        return act_plainly(context, [*given, item])

    functions = (mapped_plainly, mapped) if spec.over is not None else (plain, coroutine)
    make = branch if spec.branches else task
    return make(
        task_id=spec.name,
        retries=spec.max_attempts - 1,
        retry_delay=spec.retry_delay,
        timeout=spec.timeout,
        trigger_rule=spec.rule,
    )(functions[not spec.is_plain])
