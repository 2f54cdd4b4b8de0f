"""Waiting inside a DAG: `sleep`, `wait_until`, `wait_for_event` and `approval` make nodes that take no slot.

    paid = wait_for_event({"type": ["shop.payment"]}, match={"data.order_id": order["id"]}, timeout=timedelta(days=3))
    choice = approval("Publish?", form={"type": "object"}, assignees=["ann", "bob"], quorum=2)
    [paid, choice] >> sleep(timedelta(minutes=5)) >> publish(order)

Each returns an `Output`: of the time at which it woke, of the event as a JSON object, of what was filled in. What may
depend on the run are arguments like those of a task. Whether a pattern or a form can be used is checked when a project
is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tidemill.dag import recording
from tidemill.dag.definition import NodeKind
from tidemill.dag.handles import Handle
from tidemill.dag.options import TaskOptions
from tidemill.dag.task import Task
from tidemill.dag.wait_spec import OnEnd, WaitKind, WaitSpec

__all__ = [
    "Wait",
    "add_wait",
    "approval",
    "duration_problems",
    "sleep",
    "wait_end",
    "wait_for_event",
    "wait_options",
    "wait_until",
]

_MICROSECOND = timedelta(microseconds=1)
#: Longest time that anything may wait (a century).
LONGEST = timedelta(days=36_525)


def sleep(
    duration: timedelta | float | Any,
    *,
    task_id: str | None = None,
    trigger_rule: Any = None,
    depends_on: Any = None,
) -> Any:
    """Wait this long (a timedelta, seconds, or an output or parameter that is one of them) from when its turn comes."""
    spec = WaitSpec(kind=WaitKind.SLEEP)
    return add_wait(
        "sleep",
        spec,
        {"duration": duration},
        duration_problems("duration", duration, zero=True),
        wait_options(task_id, trigger_rule, depends_on),
    )


def wait_until(
    moment: datetime | str | Any,
    *,
    task_id: str | None = None,
    trigger_rule: Any = None,
    depends_on: Any = None,
) -> Any:
    """Wait until a moment: a datetime (a naive one is UTC), or RFC 3339 text, also of an output or parameter.

    A moment that has passed is no wait.
    """
    return add_wait(
        "wait_until",
        WaitSpec(kind=WaitKind.UNTIL),
        {"moment": moment},
        _moment_problems(moment),
        wait_options(task_id, trigger_rule, depends_on),
    )


def wait_for_event(
    pattern: Mapping[str, Any] | None = None,
    *,
    filters: Sequence[Mapping[str, Any]] | None = None,
    cesql: str | None = None,
    cel: str | None = None,
    match: Mapping[str, Any] | None = None,
    timeout: timedelta | float | Any = None,
    lookback: timedelta | float | None = None,
    on_timeout: Any = "fail",
    task_id: str | None = None,
    trigger_rule: Any = None,
    depends_on: Any = None,
) -> Any:
    """Wait for the first event that matches, and return it as a JSON object.

    `pattern`, `filters`, `cesql` and `cel` are those of a trigger; where several are given all must hold. `match` gives
    paths of the event (`data.order_id`, `subject`) the value that it must have there: a text, a number, true or false,
    also of an output or parameter. Events count that come after the wait began, with `lookback` also those received
    that much before; the first in the order of the log is taken. When `timeout` has passed, the task fails with
    `WaitTimedOut` ("fail"), is skipped ("skip"), or succeeds with the value that `on_timeout` is.
    """
    rule = {"pattern": pattern, "filters": filters, "cesql": cesql, "cel": cel}
    wanted = {name: _plain(value) for name, value in rule.items() if value is not None}
    paths = tuple(sorted(match or {}))
    problems = [
        *_rule_problems(wanted),
        *_match_problems(match),
        *duration_problems("timeout", timeout, zero=False, optional=True),
        *duration_problems("lookback", lookback, zero=True, optional=True),
    ]
    if isinstance(lookback, Handle):
        problems.append("lookback cannot be an output or a parameter")
        lookback = None
    end, otherwise = wait_end(on_timeout)
    spec = WaitSpec(
        kind=WaitKind.EVENT,
        rule=wanted,
        paths=paths,
        lookback_us=0 if problems else _microseconds(lookback),
        on_timeout=end,
    )
    values = {"match": dict(match or {}), "timeout": timeout, **otherwise}
    return add_wait(
        "wait_for_event", spec, values, iter(problems), wait_options(task_id, trigger_rule, depends_on)
    )


def approval(
    title: str | Any = "",
    *,
    form: Mapping[str, Any] | None = None,
    assignees: Sequence[str] | Any = (),
    quorum: int = 1,
    timeout: timedelta | float | Any = None,
    on_timeout: Any = "fail",
    on_reject: str = "fail",
    task_id: str | None = None,
    trigger_rule: Any = None,
    depends_on: Any = None,
) -> Any:
    """Wait until people approve, and return `{"data": ..., "by": [...], "at": ..., "decisions": [...]}`.

    `form` is the JSON Schema of what they fill in; `data` is what the last of them did. `assignees` are those who may
    decide, everybody when there are none; `quorum` different ones must approve. One who rejects ends it: the task fails
    with `Rejected`, or is skipped (`on_reject="skip"`). `timeout` and `on_timeout` are those of `wait_for_event`.
    """
    problems = [
        *duration_problems("timeout", timeout, zero=False, optional=True),
        *_approval_problems(title, assignees, quorum, on_reject),
    ]
    end, otherwise = wait_end(on_timeout)
    spec = WaitSpec(
        kind=WaitKind.APPROVAL,
        on_timeout=end,
        on_reject=OnEnd.SKIP if on_reject == "skip" else OnEnd.FAIL,
        form=None if form is None else _plain(form),
        quorum=quorum,
    )
    values = {"title": title, "assignees": assignees, "timeout": timeout, **otherwise}
    return add_wait("approval", spec, values, iter(problems), wait_options(task_id, trigger_rule, depends_on))


class Wait(Task):
    """A node that nobody calls: it waits."""

    def __init__(self, name: str, spec: WaitSpec, options: TaskOptions, problems: Sequence[str]) -> None:
        super().__init__(_wait, options, kind=NodeKind.WAIT)
        self.name = self.__name__ = name
        self.wait = spec
        self._problems = tuple(problems)

    def override(self, **options: Any) -> Task:
        """The same wait with other options; what is not given stays."""
        return Wait(self.name, self._spec, self.options.override(**options), self._problems)

    @property
    def _spec(self) -> WaitSpec:
        assert self.wait is not None  # noqa: S101 - given when it was made
        return self.wait

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with what it was given."""
        yield from self._problems
        yield from self.options.problems()


async def _wait(**values: Any) -> Any:
    """Stands where a task has its function; its arguments are what the wait is about."""


def add_wait(
    name: str, spec: WaitSpec, values: Mapping[str, Any], problems: Iterator[str], options: TaskOptions
) -> Any:
    """Record a wait in the DAG that is being built; its `Output`."""
    current = recording.current()
    if current is None:
        raise TypeError(f"{name}() waits inside a DAG: call it in a function decorated with @dag")
    plain = {key: _as_json(value) for key, value in values.items()}
    return current.add(Wait(name, spec, options, tuple(problems)), (), plain)


def _as_json(value: Any) -> Any:
    """Times as a JSON value has them."""
    match value:
        case timedelta():
            return value.total_seconds()
        case datetime():
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()
    return value


def wait_options(task_id: str | None, trigger_rule: Any, depends_on: Any) -> TaskOptions:
    """What a wait has of the options of a task."""
    return TaskOptions(task_id=task_id, trigger_rule=trigger_rule, depends_on=depends_on)


def wait_end(written: Any) -> tuple[OnEnd, dict[str, Any]]:
    """What becomes of a wait whose time is up, and the value that it has then."""
    if isinstance(written, str) and written in (OnEnd.FAIL, OnEnd.SKIP):
        return OnEnd(written), {}
    return OnEnd.VALUE, {"otherwise": written}


def _plain(value: Any) -> Any:
    """Lists and mappings of any kind as JSON would have them; what else there is stays, and is refused."""
    match value:
        case Mapping():
            return {key: _plain(member) for key, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
    return value


def _rule_problems(rule: Mapping[str, Any]) -> Iterator[str]:
    if not rule:
        yield "say which events: a pattern, filters=, cesql= or cel= (filters=[] takes every event)"
    try:
        orjson.dumps(rule)
    except (TypeError, RecursionError):
        yield "a pattern is plain data, without outputs and parameters; values of the run go into match="


def _match_problems(match: object) -> Iterator[str]:
    if match is None:
        return
    if not isinstance(match, Mapping):
        yield f"match must be paths of the event with values, not {type(match).__name__}"
        return
    for path, value in match.items():
        if not isinstance(path, str) or not path or not all(path.split(".")):
            yield f"match: {path!r} is no path; write data.order_id, subject or the like"
        elif path.split(".")[0] != "data" and "." in path:
            yield f"match: nothing lies below the attribute {path.split('.')[0]!r}; what an event carries is under data"
        if not isinstance(value, Handle | str | bool | int | float):
            yield f"match: the value of {path!r} must be a text, a number, true or false"


def _approval_problems(title: object, assignees: object, quorum: object, on_reject: object) -> Iterator[str]:
    if not isinstance(title, Handle | str):
        yield f"title must be a text, not {type(title).__name__}"
    listed: Sequence[Any] = ()
    if not isinstance(assignees, Handle):
        if not isinstance(assignees, list | tuple) or not all(
            isinstance(one, Handle | str) for one in assignees
        ):
            yield "assignees must be a list of names"
        else:
            listed = assignees
    if isinstance(quorum, bool) or not isinstance(quorum, int) or quorum < 1:
        yield f"quorum must be a whole number from 1, not {quorum!r}"
    elif listed and quorum > len(listed):
        yield f"quorum is {quorum} and there are {len(listed)} assignees"
    if on_reject not in ("fail", "skip"):
        yield f'on_reject must be "fail" or "skip", not {on_reject!r}'


def _moment_problems(moment: object) -> Iterator[str]:
    if isinstance(moment, str):
        try:
            if datetime.fromisoformat(moment).tzinfo is None:
                yield f"{moment!r} does not say in which zone; write 2026-01-31T12:00:00Z"
        except ValueError:
            yield f"{moment!r} is no time; write 2026-01-31T12:00:00Z"
    elif not isinstance(moment, Handle | datetime):
        yield f"a moment is a datetime, a text, an output or a parameter, not {type(moment).__name__}"


def duration_problems(name: str, value: object, *, zero: bool, optional: bool = False) -> Iterator[str]:
    """What is wrong with how long something may be."""
    if isinstance(value, Handle) or (optional and value is None):
        return
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        yield f"{name} must be a timedelta or seconds, not {type(value).__name__}"
        return
    if not math.isfinite(seconds) or seconds > LONGEST.total_seconds():
        yield f"{name} must be at most a century"
    elif seconds < 0 or (seconds == 0 and not zero):
        yield f"{name} must be {'not negative' if zero else 'above 0'}"


def _microseconds(value: timedelta | float | None) -> int:
    if value is None:
        return 0
    return (value if isinstance(value, timedelta) else timedelta(seconds=value)) // _MICROSECOND
