"""Stubs: what stands in for a task's function, and the calls that it got."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.dag.definition import Dag
from tidemill.errors import TidemillError
from tidemill.runs.attempts import Attempt

__all__ = ["Call", "Stub", "StubError", "Stubs", "find_task"]

_NOTHING: Any = object()


class StubError(TidemillError):
    """There is no such task, or the stub says two things at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a stubbed task."""

    run_id: str
    #: The task's id; that of a mapped task run has its place in brackets.
    task_id: str
    #: From 1.
    attempt: int
    #: By the names of the function's parameters, defaults included; the task's `Context` is among them.
    arguments: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Stub:
    """Stands in for a task."""

    name: str
    returns: Any = _NOTHING
    raises: BaseException | type[BaseException] | None = None
    calls_function: Callable[..., Any] | None = None
    #: Calls to answer; later ones get to the real function. None: all.
    times: int | None = None
    #: What it was called with, in order; calls that got to the real function are not among them.
    calls: list[Call] = field(default_factory=list)

    @property
    def call_count(self) -> int:
        """How often it stood in."""
        return len(self.calls)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments of the only call; an `AssertionError` when it is not the only one."""
        if len(self.calls) != 1:
            raise AssertionError(f"{self.name} was called {len(self.calls)} times, not once")
        return self.calls[0].arguments

    @property
    def is_used_up(self) -> bool:
        """Whether the real function is called from now on."""
        return self.times is not None and len(self.calls) >= self.times

    def answer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the task returns, or a coroutine for it; raises what it raises."""
        if self.raises is not None:
            raise self.raises
        if self.calls_function is not None:
            return self.calls_function(*args, **kwargs)
        return None if self.returns is _NOTHING else self.returns


class Stubs:
    """The stubs of one harness."""

    def __init__(self) -> None:
        self._stubs: dict[tuple[str, str], Stub] = {}

    def add(
        self,
        name: str,
        dags: Mapping[str, Dag],
        *,
        returns: Any = _NOTHING,
        raises: BaseException | type[BaseException] | None = None,
        calls: Callable[..., Any] | None = None,
        times: int | None = None,
    ) -> Stub:
        """Stand in for the task `DAG.TASK`; a later stub of the same task takes its place."""
        if (returns is not _NOTHING) + (raises is not None) + (calls is not None) > 1:
            raise StubError(f"the stub of {name} has one of returns, raises and calls")
        stub = Stub(name=name, returns=returns, raises=raises, calls_function=calls, times=times)
        self._stubs[find_task(name, dags)] = stub
        return stub

    def remove(self, name: str) -> None:
        """The real function is called again."""
        for key in [key for key, stub in self._stubs.items() if stub.name == name]:
            del self._stubs[key]

    def stand_in(self, attempt: Attempt) -> Attempt:
        """The attempt as it is made: with the stub in place of the function, where there is one."""
        if not self._stubs:
            return attempt
        stub = self._stubs.get((attempt.dag.dag_id, attempt.node.task_id))
        if stub is None or stub.is_used_up:
            return attempt
        return replace(attempt, node=replace(attempt.node, function=_function(stub, attempt)))


def find_task(name: str, dags: Mapping[str, Dag]) -> tuple[str, str]:
    """DAG and task of `DAG.TASK`; raises `StubError` that names the tasks there are."""
    known = [(dag.dag_id, node.task_id) for dag in dags.values() for node in dag.tasks]
    for key in known:
        if ".".join(key) == name:
            return key
    names: Sequence[str] = [".".join(key) for key in known]
    raise StubError(f"there is no task {name!r}; these are: {', '.join(names)}")


def _function(stub: Stub, attempt: Attempt) -> Callable[..., Any]:
    real = attempt.node.function

    def note(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        stub.calls.append(
            Call(
                run_id=attempt.run_id,
                task_id=attempt.task_id,
                attempt=attempt.number,
                arguments=_by_name(real, args, kwargs),
            )
        )

    def plain(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        return stub.answer(args, kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        answer = stub.answer(args, kwargs)
        return await answer if inspect.isawaitable(answer) else answer

    return coroutine if attempt.node.is_coroutine else plain


def _by_name(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)
