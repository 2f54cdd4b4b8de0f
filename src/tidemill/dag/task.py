"""A task as it is written: a function with options, not yet part of any DAG."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from typing_extensions import Unpack

from tidemill.dag import recording
from tidemill.dag.context import find_context_parameters
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import NodeKind
from tidemill.dag.options import TaskArguments, TaskOptions
from tidemill.dag.recording import Mapped
from tidemill.dag.serializers import serializer_problem
from tidemill.dag.wait_spec import WaitSpec

__all__ = ["PartialTask", "Task"]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Task:
    """A function that becomes a node of the DAG inside whose function it is called.

    Called anywhere else it is the plain function, so that tasks are tested as functions.
    """

    def __init__(
        self, function: Callable[..., Any], options: TaskOptions, *, kind: NodeKind = NodeKind.TASK
    ) -> None:
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
        self.kind = kind
        #: What it waits for, where it is a wait.
        self.wait: WaitSpec | None = None
        self.name: str = self.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a node to the DAG being built and return its `Output`; outside of a DAG, call the function."""
        current = recording.current()
        if current is None:
            return self.function(*args, **kwargs)
        return current.add(self, args, kwargs)

    def override(self, **options: Unpack[TaskArguments]) -> Task:
        """The same task with other options; what is not given stays."""
        return Task(self.function, self.options.override(**options), kind=self.kind)

    def with_defaults(self, defaults: Mapping[str, Any]) -> Task:
        """The same task with `defaults` for the options that it says nothing of."""
        if self.wait is not None:
            return self
        made = self.options.with_defaults(defaults)
        return self if made == self.options else Task(self.function, made, kind=self.kind)

    def partial(self, *args: Any, **kwargs: Any) -> PartialTask:
        """The arguments that all items of a map share: `load.partial(table="x").expand(file=files)`."""
        return PartialTask(self, args, kwargs)

    def expand(self, **lists: Any) -> Any:
        """Call the task once for every combination of the items of `lists`, the last one fastest.

        Each is a list, a dict (its items are pairs), an output or a parameter that will be one when the run gets
        there. The output is the list of results in that order. Outside of a DAG it calls the function so.
        """
        return PartialTask(self, (), {}).expand(**lists)

    def map(self, *lists: Any, **named: Any) -> Any:
        """Call the task once for the items of `lists` side by side, which must be of one length; as `expand` else."""
        return PartialTask(self, (), {}).map(*lists, **named)

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

    def bind_partly(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], items: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that all items of a map share; `TypeError` when they do not fit together with `items`."""
        for name in items:
            known = self._signature.parameters.get(name)
            if known is not None and known.kind not in _BY_NAME:
                raise TypeError(f"{name!r} is mapped and must be passable by name")
            if name in kwargs:
                raise TypeError(f"{name!r} is both shared and mapped")
        bound_args, bound = self.bind(args, {**kwargs, **items})
        return bound_args, {name: value for name, value in bound.items() if name not in items}

    def names_of(self, args: tuple[Any, ...], lists: tuple[Any, ...]) -> list[str]:
        """The parameters that positional `lists` after the shared `args` stand for."""
        names = [name for name, one in self._signature.parameters.items() if one.kind in _BY_NAME]
        free = names[len(args) :]
        if len(lists) > len(free):
            raise TypeError(f"{self.name} has no parameter for each of {len(lists)} mapped lists")
        return free[: len(lists)]

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with this task, whichever DAG it is in."""
        yield from self.options.problems()
        yield from self._spawn_problems()
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
        if self.options.cache and self.context_parameters:
            yield (
                f"function {self.name} asks for the Context, which is another one each time; "
                "cache= is for tasks whose inputs are all arguments"
            )
        if self.options.result is not None:
            problem = serializer_problem(self.options.result, self.function)
            if problem is not None:
                yield problem
        for name in self.context_parameters:
            if inspect.signature(self.function).parameters[name].kind not in _BY_NAME:
                yield f"function {self.name}: parameter {name!r} is the Context and must be passable by name"

    def _spawn_problems(self) -> Iterator[str]:
        if self.options.spawns is None:
            return
        executor = self.options.executor_for(is_coroutine=self.is_coroutine)
        if executor not in ("loop", "thread"):
            yield f"spawns works on the executors loop and thread, not on {executor!r}"
        if not self.context_parameters:
            yield "spawns needs a parameter of type Context: tasks are asked for by context.spawn(task, ...)"


class PartialTask:
    """A task with the arguments that all items of a map share."""

    def __init__(self, task: Task, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def expand(self, **lists: Any) -> Any:
        """See `Task.expand`."""
        if not lists:
            raise TypeError(f"{self.task.name}.expand() takes at least one list by its parameter's name")
        return self._map(Mapped(lists, is_product=True))

    def map(self, *lists: Any, **named: Any) -> Any:
        """See `Task.map`."""
        values = dict(zip(self.task.names_of(self.args, lists), lists, strict=True)) | named
        if not values:
            raise TypeError(f"{self.task.name}.map() takes at least one list")
        return self._map(Mapped(values, is_product=False))

    def _map(self, mapped: Mapped) -> Any:
        current = recording.current()
        if current is not None:
            return current.add(self.task, self.args, self.kwargs, mapped=mapped)
        lists = {
            name: [list(pair) for pair in value.items()] if isinstance(value, Mapping) else list(value)
            for name, value in mapped.values.items()
        }
        join = itertools.product if mapped.is_product else functools.partial(zip, strict=True)
        return [
            self.task.function(*self.args, **self.kwargs, **dict(zip(lists, items, strict=True)))
            for items in join(*lists.values())
        ]


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
