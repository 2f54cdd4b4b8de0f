"""What stands for values while a DAG function is recorded: results of tasks, and the DAG's own parameters.

A handle has no value yet, so whatever would need one (iterating, testing, formatting, comparing) is refused
with what to do instead; nothing may silently use the handle itself as if it were the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from tidemill.dag.recording import Call

__all__ = ["Handle", "Output", "Parameter", "name_of", "outputs_of", "path_of"]

T = TypeVar("T")


class Handle:
    """A value that will exist when the run does; `handle["key"]` and `handle[0]` refer into it."""

    # Private, because the public names of a `Parameter` are the fields of the value that it stands for.
    __slots__ = ("_path",)

    def __init__(self, path: tuple[str | int, ...]) -> None:
        self._path = path

    def _describe(self) -> str:
        raise NotImplementedError

    def _at(self, path: tuple[str | int, ...]) -> Handle:
        raise NotImplementedError

    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(
            f"{self._describe()} has no value while the DAG is built, so it cannot be {what}; "
            "pass it to a task and do that there"
        )

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, bool) or not isinstance(key, str | int):
            self._refuse(f"indexed with {type(key).__name__}")
        return self._at((*self._path, key))

    def __iter__(self) -> NoReturn:
        self._refuse("iterated over or unpacked")

    def __contains__(self, item: object) -> NoReturn:
        self._refuse("searched with 'in'")

    def __len__(self) -> NoReturn:
        self._refuse("measured with len()")

    def __bool__(self) -> NoReturn:
        self._refuse("tested")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            self._refuse("compared")
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        self._refuse("turned into text")

    def __format__(self, spec: str) -> str:
        self._refuse("turned into text")

    def __repr__(self) -> str:
        return f"<{self._describe()}>"


class Output(Handle):
    """The result of one task of the DAG being built. `a >> b` and `b << a` make b wait for a."""

    __slots__ = ("call",)

    def __init__(self, call: Call, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(path)
        self.call = call

    @property
    def task_id(self) -> str:
        """The id of the task within its DAG."""
        return self.call.task_id

    def _describe(self) -> str:
        return f"output of task {self.call.task_id!r}" + "".join(f"[{step!r}]" for step in self._path)

    def _at(self, path: tuple[str | int, ...]) -> Output:
        return Output(self.call, path)

    def __getattr__(self, name: str) -> NoReturn:
        hint = "" if name.startswith("_") else f"; write output[{name!r}] to refer to a part of the result"
        raise AttributeError(f"{self._describe()} has no attribute {name!r}{hint}")

    def __rshift__(self, other: T) -> T:
        for target in outputs_of(other, ">>"):
            target.call.after[self.call] = None
        return other

    def __lshift__(self, other: T) -> T:
        for origin in outputs_of(other, "<<"):
            self.call.after[origin.call] = None
        return other

    def __rrshift__(self, other: T) -> Output:
        if isinstance(other, list | tuple | set):
            for one in other:
                one >> self
            return self
        for origin in outputs_of(other, ">>"):
            self.call.after[origin.call] = None
        return self

    def __rlshift__(self, other: T) -> Output:
        for target in outputs_of(other, "<<"):
            target.call.after[self.call] = None
        return self


class Parameter(Handle):
    """A parameter of the DAG being built; `parameter.field` and `parameter["field"]` refer into it."""

    __slots__ = ("_name",)

    def __init__(self, name: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(path)
        self._name = name

    def _describe(self) -> str:
        return f"parameter {self._name!r}" + "".join(f"[{step!r}]" for step in self._path)

    def _at(self, path: tuple[str | int, ...]) -> Parameter:
        return Parameter(self._name, path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{self._describe()} has no attribute {name!r}")
        return self._at((*self._path, name))


def path_of(handle: Handle) -> tuple[str | int, ...]:
    """The steps from the whole value to the part that `handle` stands for."""
    return handle._path  # noqa: SLF001 - see Handle


def name_of(parameter: Parameter) -> str:
    """The name of the parameter that `parameter` stands for, or is a part of."""
    return parameter._name  # noqa: SLF001 - see Handle


def outputs_of(value: object, operator: str) -> Iterable[Output]:
    """An output, or those in a list; raises `TypeError`, which names the operator, for anything else."""
    if isinstance(value, Output):
        return (value,)
    if isinstance(value, list | tuple | set) and all(isinstance(one, Output) for one in value):
        return value
    raise TypeError(
        f"{operator} joins outputs of tasks and lists of them, not {type(value).__name__}; "
        "call the task first: extract() >> load()"
    )
