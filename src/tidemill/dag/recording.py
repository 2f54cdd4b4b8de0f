"""What a DAG function did while it was run once at build: the calls of tasks, in order, with what went wrong.

A recording is the only thing that changes while a DAG is built; it is thrown away when the DAG exists. Calls
never raise for a mistake of one task, so that every mistake of the function is found in one go.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tidemill.dag.handles import Handle, Output

if TYPE_CHECKING:
    from tidemill.dag.edges import Edge
    from tidemill.dag.retry import Retry
    from tidemill.dag.task import Task

__all__ = ["Call", "Group", "Mapped", "Recording", "TooManyTasks", "current"]

#: Levels of lists and dicts in one argument.
_MAX_DEPTH = 64

_current: ContextVar[Recording | None] = ContextVar("tidemill_recording", default=None)


def current() -> Recording | None:
    """The recording of the DAG function that is running now, None outside of one."""
    return _current.get()


class TooManyTasks(Exception):  # noqa: N818 - ends a DAG function that would go on for ever
    """The DAG function called more tasks than a DAG may have."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a task is called for item by item."""

    #: Parameter → list or dict, or a handle of one.
    values: Mapping[str, Any]
    #: True: every combination of items; False: the lists side by side.
    is_product: bool


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Where calls are recorded: the DAG itself, or a DAG that it calls."""

    #: What the ids of its tasks begin with; empty for the DAG itself.
    prefix: str = ""
    depth: int = 0
    outer: Group | None = None
    default_retry: Retry | None = None
    #: Options of tasks that say nothing themselves.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: Its failure is nobody's but its own.
    isolates: bool = False
    #: What its tasks did is undone when it fails, whatever becomes of the rest.
    compensates: bool = False

    def holds(self, other: Group | None) -> bool:
        """True when `other` is this group or inside of it."""
        while other is not None and other is not self:
            other = other.outer
        return other is self


@dataclass(slots=True, eq=False)
class Call:
    """One call of one task: a node to be."""

    recording: Recording
    task: Task
    task_id: str
    line: int
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: Whether an argument holds a handle.
    refers: bool = False
    #: Calls that this one waits for, in the order in which they were found.
    after: dict[Call, None] = field(default_factory=dict)
    #: What of those counts, where it is not their success.
    edges: dict[Call, Edge] = field(default_factory=dict)
    #: Lists that it is called for item by item, by parameter.
    mapped: Mapped | None = None
    #: Tasks whose success it cleans up after; None for a task that cleans up nothing.
    setups: list[Call] | None = None
    #: False for what is called because of another task's fate, and decides nothing of the run's.
    decides: bool = True
    #: Starts when everything above has ended and something failed ("failure") or nothing did ("success").
    fate: Literal["failure", "success"] | None = None
    #: Whose fate that is, where it is not that of everything above.
    fate_of: list[Call] = field(default_factory=list)
    group: Group = field(default_factory=Group)
    #: True for what was added because a task or DAG says `on_failure`, `on_success` or `compensate`.
    is_callback: bool = False
    #: Tasks that add task runs of this one while they run; None for what is called as it stands.
    spawned_by: list[Call] | None = None


class Recording:
    """Calls of tasks and mistakes of one run of one DAG function."""

    def __init__(self, file: str, line: int, max_tasks: int, *, group: Group | None = None) -> None:
        #: Where calls are recorded now.
        self.group = group or Group()
        self.calls: list[Call] = []
        #: (line, message)
        self.problems: list[tuple[int, str]] = []
        #: Message to the id of the rule that it breaks, where that is one of its own.
        self.rules: dict[str, str] = {}
        self._file = file
        self._line = line
        self._max_tasks = max_tasks
        self._explicit: dict[str, int] = {}
        self._taken: set[str] = set()
        self._used: dict[str, int] = {}
        self._misfits: set[tuple[int, str]] = set()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Tasks called inside are recorded here."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def inside(self, group: Group) -> Iterator[None]:
        """Calls inside belong to `group`."""
        outer, self.group = self.group, group
        try:
            yield
        finally:
            self.group = outer

    def name_group(self, name: str) -> str:
        """The prefix of a group's tasks: its name, numbered from 2 where it is called again."""
        whole = self.group.prefix + name
        number = self._used.get(whole + ".", 0) + 1
        self._used[whole + "."] = number
        return f"{whole}." if number == 1 else f"{whole}__{number}."

    def refuse(self, message: str, line: int | None = None, *, rule: str = "") -> None:
        """Note a mistake, at the line of the DAG function that is running when none is given."""
        if rule:
            self.rules[message] = rule
        self.problems.append((self._current_line() if line is None else line, message))

    def add(
        self, task: Task, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, mapped: Mapped | None = None
    ) -> Output:
        """Record one call; of a mapped one, `args` and `kwargs` are those that all items share."""
        line = self._current_line()
        if len(self.calls) >= self._max_tasks:
            self.refuse(
                f"the DAG has more than {self._max_tasks} tasks; split it, or raise max_tasks_per_dag", line
            )
            raise TooManyTasks
        if self.group.defaults:
            task = task.with_defaults(self.group.defaults)
        call = Call(self, task, self._name(task, line), line, group=self.group)
        call.decides = not self.group.isolates
        self.calls.append(call)
        try:
            if mapped is None:
                call.args, call.kwargs = task.bind(args, kwargs)
            else:
                call.args, call.kwargs = task.bind_partly(args, kwargs, mapped.values)
                call.mapped = Mapped(_copy(dict(mapped.values)), mapped.is_product)
                self.scan(dict(mapped.values), call)
        except (TypeError, ValueError) as error:
            if (line, str(error)) not in self._misfits:  # once for all rounds of a loop
                self._misfits.add((line, str(error)))
                self.refuse(f"task {call.task_id!r}: function {task.name}: {error}", line)
        call.refers = self.scan((call.args, call.kwargs), call)
        with suppress(RecursionError):  # refused above
            call.args, call.kwargs = _copy((call.args, call.kwargs))
        return Output(call)

    def template(self, by: Call, task: Task) -> Output:
        """The call that stands for the task runs of `task` which `by` asks for while it runs."""
        for call in self.calls:
            if call.spawned_by is not None and call.group is by.group and call.task.function is task.function:
                if by not in call.spawned_by:
                    self._join_spawner(call, by)
                return Output(call)
        line = self._current_line()
        call = Call(self, task, self._name(task, line), line, group=by.group)
        call.decides = by.decides
        call.mapped, call.spawned_by = Mapped({}, is_product=True), []
        self.calls.append(call)
        self._join_spawner(call, by)
        return Output(call)

    def _join_spawner(self, call: Call, by: Call) -> None:
        assert call.spawned_by is not None  # noqa: S101 - it is such a call
        call.spawned_by.append(by)
        if by is not call:
            call.after[by] = None

    def scan(self, tree: Any, call: Call | None) -> bool:
        """Make `call` wait for every output in `tree`; True when there is a handle in it."""
        try:
            return self._scan(tree, call, 0)
        except RecursionError:
            self.refuse(f"a value is nested deeper than {_MAX_DEPTH} levels")
            return False

    def _scan(self, tree: Any, call: Call | None, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            raise RecursionError
        match tree:
            case Output():
                self._join(tree, call)
                return True
            case Handle():
                return True
            case list() | tuple():
                items: Iterable[Any] = tree
            case dict():
                if any(isinstance(key, Handle) for key in tree):
                    self.refuse("a key of a dict cannot be an output or parameter; use it as a value")
                items = tree.values()
            case set() | frozenset():
                if any(isinstance(item, Handle) for item in tree):
                    self.refuse("outputs and parameters cannot be in a set; use a list")
                return False
            case _:
                self._check_constant(tree)
                return False
        found = False
        for item in items:
            found = self._scan(item, call, depth + 1) or found
        return found

    def _join(self, output: Output, call: Call | None) -> None:
        if output.call.recording is not self:
            self.refuse(
                f"output of task {output.task_id!r} belongs to another DAG; "
                "start this DAG by the other one's completion event instead"
            )
        elif call is not None:
            call.after[output.call] = None

    def _check_constant(self, value: Any) -> None:
        from tidemill.dag.task import Task

        if isinstance(value, Task):
            self.refuse(f"task {value.name!r} is passed without being called; write {value.name}()")

    def _name(self, task: Task, line: int) -> str:
        """The id of a new call: an explicit one as it is, else the function's name, numbered from 2."""
        explicit, prefix = task.options.task_id, self.group.prefix
        if explicit is not None:
            return self._claim(f"{prefix}{explicit}", line)
        whole = prefix + task.name
        number = self._used.get(whole, 0) + 1
        while (name := whole if number == 1 else f"{whole}__{number}") in self._taken:
            number += 1
        self._used[whole] = number
        self._taken.add(name)
        return name

    def _claim(self, name: str, line: int) -> str:
        if name in self._taken:
            self.refuse(f"duplicate task id {name!r}; use .override(task_id=...) to name each call", line)
        self._taken.add(name)
        return name

    def _current_line(self) -> int:
        """The line of the DAG's file that is running, the DAG's own line when none is."""
        frame = sys._getframe(1)  # noqa: SLF001 - documented; `inspect.stack` reads files
        while frame is not None:
            if frame.f_code.co_filename == self._file:
                return frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return self._line


def _copy(tree: Any) -> Any:
    """The same tree, out of reach of what the DAG function does to its lists and dicts afterwards."""
    kind = type(tree)
    if kind is list:
        return [_copy(one) for one in tree]
    if kind is tuple:
        return tuple([_copy(one) for one in tree])
    if kind is dict:
        return {key: _copy(value) for key, value in tree.items()}
    return tree
