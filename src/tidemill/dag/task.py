"""A task as it is written: a function with options, not yet part of any DAG."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from typing_extensions import Unpack

from tidemill.dag import recording
from tidemill.dag.context import find_context_parameters
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.options import TaskArguments, TaskOptions

__all__ = ["Task"]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Task:
    """A function that becomes a node of the DAG inside whose function it is called.

    Called anywhere else it is the plain function, so that tasks are tested as functions.
    """

    def __init__(self, function: Callable[..., Any], options: TaskOptions) -> None:
        if isinstance(function, Task):
            raise TypeError(f"{function.name} is a task already; use @task once")
        if isinstance(function, DagDefinition):
            raise TypeError(f"{function.dag_id} is a DAG; a DAG cannot be a task of another one")
        if not callable(function) or isinstance(function, type | staticmethod | classmethod):
            raise TypeError(f"@task decorates a function, not {type(function).__name__}")
        functools.update_wrapper(self, function)
        self.__name__: str = getattr(function, "__name__", type(function).__name__)
        self.function = function
        self.options = options
        self.name: str = self.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a node to the DAG being built and return its `Output`; outside of a DAG, call the function."""
        current = recording.current()
        if current is None:
            return self.function(*args, **kwargs)
        return current.add(self, args, kwargs)

    def override(self, **options: Unpack[TaskArguments]) -> Task:
        """The same task with other options; what is not given stays."""
        return Task(self.function, self.options.override(**options))

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __get__(self, instance: object, owner: type | None = None) -> Task:
        if instance is None:
            return self
        raise TypeError(f"task {self.name} is a method; tasks are functions of a module")

    @functools.cached_property
    def is_coroutine(self) -> bool:
        """Whether the function is a coroutine function (run in the event loop)."""
        call = getattr(type(self.function), "__call__")  # noqa: B004,B009 - objects with `async def __call__`
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    @functools.cached_property
    def context_parameters(self) -> list[str]:
        """Parameters that ask for the `Context`; a valid task has at most one."""
        return find_context_parameters(self.function, inspect.signature(self.function))

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        """What callers pass: everything but the context."""
        whole = inspect.signature(self.function)
        hidden = set(self.context_parameters)
        # A parameter before the context may have a default where one after it has none; positions do not
        # matter then, because such calls are passed by name.
        return whole.replace(parameters=_ordered([p for n, p in whole.parameters.items() if n not in hidden]))

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments so that the context can be added by name; `TypeError` when they do not fit."""
        for name in self.context_parameters:
            if name in kwargs:
                raise TypeError(f"{name!r} is the Context, which Tidemill passes; leave it out")
        bound = self._signature.bind(*args, **kwargs)
        if not self.context_parameters:
            return args, dict(kwargs)
        return _by_name(bound)

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with this task, whichever DAG it is in."""
        yield from self.options.problems()
        yield from self.options.executor_problems(is_coroutine=self.is_coroutine)
        try:
            inspect.signature(self.function)
        except ValueError:
            yield f"{self.name} has no signature; wrap it into a function of your own"
            return
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            yield f"function {self.name} is a generator; return a value instead"
        if len(self.context_parameters) > 1:
            yield f"function {self.name} asks for the Context twice ({', '.join(self.context_parameters)})"
        for name in self.context_parameters:
            if inspect.signature(self.function).parameters[name].kind not in _BY_NAME:
                yield f"function {self.name}: parameter {name!r} is the Context and must be passable by name"


def _ordered(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """The same parameters, keyword-only where hiding one put a default before a parameter without."""
    seen_default = False
    ordered: list[inspect.Parameter] = []
    for one in parameters:
        if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            seen_default = seen_default or one.default is not inspect.Parameter.empty
            if seen_default and one.default is inspect.Parameter.empty:
                one = one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        ordered.append(one)
    return sorted(ordered, key=lambda one: one.kind)


def _by_name(bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        match bound.signature.parameters[name].kind:
            case inspect.Parameter.POSITIONAL_ONLY:
                args.append(value)
            case inspect.Parameter.VAR_POSITIONAL:
                if value:
                    raise TypeError(f"*{name} and a Context cannot be passed together; take a list instead")
            case inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            case _:
                kwargs[name] = value
    return tuple(args), kwargs
