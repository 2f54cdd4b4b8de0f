"""Conditions on results, asked once: their answers are recorded, so that a fold never asks again. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.dag.edges import Condition
from tidemill.errors import Problem
from tidemill.events.event import JSON
from tidemill.patterns.cel import compile_value
from tidemill.patterns.rule import PatternError

__all__ = ["condition_problem", "holds", "problems_of"]

_MESSAGE = 1000


def holds(condition: Condition, result: bytes, parameters: bytes) -> tuple[bool, str]:
    """Whether the result fulfils the condition, and why it cannot be told where it cannot."""
    try:
        value = orjson.loads(result)
        for step in condition.path:
            value = value[step]
        return _ask(condition, value, parameters), ""
    except Exception as error:  # whatever a user's function or an expression raises
        text = f"{type(error).__name__}: {error}"[:_MESSAGE]
        return False, f"condition {condition.describe()}: " + text.encode(
            "utf-8", "backslashreplace"
        ).decode()


def condition_problem(condition: Condition) -> str | None:
    """What is wrong with a condition as it is written, None when nothing is."""
    if condition.expression is None:
        return None
    try:
        _, variables = _compiled(condition.expression)
    except PatternError as error:
        return f"condition {condition.expression!r}: " + "; ".join(message for _, message in error.problems)
    unknown = [name for name in variables if name not in ("result", "parameters")]
    if unknown:
        return f"condition {condition.expression!r}: there is no {unknown[0]!r} here, only result, parameters"
    return None


def problems_of(dag: Dag) -> list[Problem]:
    """What is wrong with the conditions of a DAG, at the lines of the tasks that wait by them."""
    found = []
    for node in dag.tasks:
        for edge in node.edges.values():
            text = None if edge.condition is None else condition_problem(edge.condition)
            if text is not None:
                found.append(
                    Problem(dag.file, node.line, f"DAG {dag.dag_id!r}: task {node.task_id!r}: {text}")
                )
    return found


def _ask(condition: Condition, value: Any, parameters: bytes) -> bool:
    if condition.values is not None:
        is_one = any(_same(value, one) for one in condition.values)
        return is_one != condition.is_default
    if condition.function is not None:
        if _wants_parameters(condition.function):
            return bool(condition.function(value, orjson.loads(parameters)))
        return bool(condition.function(value))
    assert condition.expression is not None  # noqa: S101 - one of the three is given
    evaluate, _ = _compiled(condition.expression)
    answer = evaluate({"result": value, "parameters": orjson.loads(parameters)})
    if not isinstance(answer, bool):
        raise TypeError(f"it is {answer!r}, not true or false"[:200])
    return answer


def _same(value: Any, other: Any) -> bool:
    """Equal, where True is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _wants_parameters(function: Any) -> bool:
    try:
        wanted = inspect.signature(function).parameters.values()
    except ValueError:
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in wanted) > 1


@lru_cache(maxsize=1024)
def _compiled(text: str) -> tuple[Callable[[dict[str, JSON]], Any], tuple[str, ...]]:
    return compile_value(text)
