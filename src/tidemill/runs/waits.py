"""What a wait waits for and what it ends with. Pure: times, events and decisions come in as arguments.

1. What a wait is about is written down when it begins (`Begun.detail`): its end follows from that and from what
   happened, and never from the definition.
2. An event is compared by its key: a hash of the pattern's name and of the values at the wait's paths. A wait has one
   key, an event one per pattern that it matches; equal keys are all there is to it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tidemill.clock import rfc3339, to_us
from tidemill.dag.wait_spec import OnEnd, WaitKind, WaitSpec
from tidemill.dag.waits import LONGEST
from tidemill.errors import TaskFailed
from tidemill.events import json_format
from tidemill.events.event import JSON, Event
from tidemill.runs.records import Failure

__all__ = [
    "Begun",
    "Child",
    "Decision",
    "Ended",
    "Skipped",
    "approved",
    "arrived",
    "begin",
    "event_key",
    "rejected",
    "time_is_up",
]

_INVALID = "InvalidWait"
_TEXT = 1000
#: Longest text that is compared, and most people that may be asked.
_LONGEST_VALUE = 8192
_ASSIGNEES = 1000


@dataclass(frozen=True, slots=True)
class Begun:
    """A wait as it begins; `detail` is JSON and has what it waits for."""

    due_at: int | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A run that begins with the wait for its end."""

    run_id: str
    dag: str
    parameters: Mapping[str, Any]
    #: Id of the event that starts it.
    request: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The wait ends and its task is skipped."""

    reason: str


#: What a wait ends with: a result as JSON text, a failure, or a reason to skip.
Ended = bytes | Failure | Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one person said about an approval."""

    by: str
    at: int
    is_approval: bool
    #: JSON text of what was filled in.
    data: bytes = b"null"


def begin(
    spec: WaitSpec,
    values: Mapping[str, Any],
    *,
    at: int,
    since: int,
    approval_id: str = "",
    child: Child | None = None,
) -> Begun:
    """The wait of a node with these arguments; events after position `since` count.

    Raises `TaskFailed` (`InvalidWait`) when the arguments are nothing that can be waited for.
    """
    match spec.kind:
        case WaitKind.SLEEP:
            return Begun(at + _duration("duration", values["duration"]), {"kind": spec.kind.value})
        case WaitKind.UNTIL:
            return Begun(_moment(values["moment"]), {"kind": spec.kind.value})
        case WaitKind.EVENT:
            detail = _event_detail(spec, values, at, since)
        case WaitKind.APPROVAL:
            detail = _approval_detail(spec, values, approval_id)
        case WaitKind.RUN:
            assert child is not None  # noqa: S101 - whoever begins such a wait makes its run
            detail = _run_detail(spec, child, since)
    timeout = values.get("timeout")
    due_at = None if timeout is None else at + _duration("timeout", timeout)
    if due_at is not None:
        detail["on_timeout"] = spec.on_timeout.value
        if spec.on_timeout is OnEnd.VALUE:
            detail["otherwise"] = _json("on_timeout", values["otherwise"])
    return Begun(due_at, detail)


def _event_detail(spec: WaitSpec, values: Mapping[str, Any], at: int, since: int) -> dict[str, Any]:
    wanted = {path: _comparable(path, values["match"][path]) for path in spec.paths}
    pattern = spec.pattern
    assert pattern is not None  # noqa: S101 - it waits for events
    detail: dict[str, Any] = {
        "kind": spec.kind.value,
        "pattern": pattern,
        "match": wanted,
        "key": _key(pattern, list(wanted.values())),
        "since": 0 if spec.lookback_us else since,
    }
    if spec.lookback_us:
        detail["from_at"] = at - spec.lookback_us
    return detail


def _run_detail(spec: WaitSpec, child: Child, since: int) -> dict[str, Any]:
    pattern = spec.pattern
    assert pattern is not None  # noqa: S101 - it waits for an event
    return {
        "kind": spec.kind.value,
        "pattern": pattern,
        "match": {"subject": child.run_id},
        "key": _key(pattern, [child.run_id]),
        "since": since,
        "run": child.run_id,
        "dag": child.dag,
        "request": child.request,
        "parameters": dict(child.parameters),
        "isolates": spec.isolates,
    }


def _approval_detail(spec: WaitSpec, values: Mapping[str, Any], approval_id: str) -> dict[str, Any]:
    title, assignees = values["title"], values["assignees"]
    if not isinstance(title, str):
        raise TaskFailed(_INVALID, f"title must be a text, not {_kind(title)}")
    if not isinstance(assignees, list | tuple) or not all(isinstance(one, str) and one for one in assignees):
        raise TaskFailed(_INVALID, "assignees must be a list of names")
    people = list(dict.fromkeys(assignees))
    if len(people) > _ASSIGNEES:
        raise TaskFailed(_INVALID, f"there are {len(people)} assignees, more than {_ASSIGNEES}")
    if people and spec.quorum > len(people):
        raise TaskFailed(_INVALID, f"quorum is {spec.quorum} and there are {len(people)} assignees")
    return {
        "kind": spec.kind.value,
        "approval": approval_id,
        "title": title[:_TEXT],
        "form": spec.form,
        "assignees": people,
        "quorum": spec.quorum,
        "on_reject": spec.on_reject.value,
    }


def event_key(pattern: str, paths: Sequence[str], event: Event) -> str | None:
    """The key of an event that matches `pattern`; None when it lacks one of the values."""
    values: list[JSON] = []
    for path in paths:
        value = _at(event, path)
        if type(value) not in (str, int, float, bool):
            return None
        values.append(value)
    try:
        return _key(pattern, values)
    except TypeError:  # a number or text that JSON of ours cannot carry is nothing that a wait compares
        return None


def time_is_up(detail: Mapping[str, Any], due_at: int | None, at: int) -> Ended:
    """What a wait ends with when its time is up, `at` that moment."""
    if detail["kind"] in (WaitKind.SLEEP, WaitKind.UNTIL):
        return orjson.dumps(rfc3339(at))
    match detail.get("on_timeout"):
        case OnEnd.VALUE:
            return orjson.dumps(detail["otherwise"])
        case OnEnd.SKIP:
            return Skipped("nothing came in time")
    missing = {
        WaitKind.EVENT: "no event that it waits for",
        WaitKind.RUN: f"no end of run {detail.get('run')}",
    }
    what = missing.get(detail["kind"], "no decision")
    return Failure("WaitTimedOut", f"there was {what} until {rfc3339(due_at or at)}")


def arrived(detail: Mapping[str, Any], event: Event) -> Ended:
    """What a wait ends with when its event is there."""
    if detail.get("kind") != WaitKind.RUN:
        return json_format.encode(event)
    told = event.data if isinstance(event.data, dict) else {}
    state, error = str(told.get("state")), told.get("error")
    if detail.get("isolates"):
        shown = {"run": detail["run"], "state": state, "result": told.get("result"), "error": error}
        return orjson.dumps(shown)
    if state == "succeeded":
        return orjson.dumps(told.get("result"))
    reason = error.get("reason") if isinstance(error, dict) else None
    text = (
        f"run {detail['run']} of {detail['dag']} was {state}"
        if state == "cancelled"
        else (f"run {detail['run']} of {detail['dag']} {state}" + (f": {reason}" if reason else ""))
    )
    return Failure("RunCancelled" if state == "cancelled" else "RunFailed", text[:_TEXT])


def approved(decisions: Sequence[Decision]) -> bytes:
    """What an approval ends with when enough have approved; `decisions` in order."""
    said = [one for one in decisions if one.is_approval]
    return orjson.dumps(
        {
            "data": orjson.Fragment(said[-1].data) if said else None,
            "by": [one.by for one in said],
            "at": rfc3339(said[-1].at) if said else None,
            "decisions": [
                {"by": one.by, "at": rfc3339(one.at), "data": orjson.Fragment(one.data)} for one in said
            ],
        }
    )


def rejected(detail: Mapping[str, Any], decisions: Iterable[Decision]) -> Ended:
    """What an approval ends with when somebody has rejected."""
    no = next((one for one in decisions if not one.is_approval), None)
    said = orjson.loads(no.data) if no is not None else None
    reason = said.get("reason") if isinstance(said, Mapping) else None
    text = f"rejected by {no.by if no is not None else 'somebody'}"
    if isinstance(reason, str) and reason:
        text = f"{text}: {reason}"[:_TEXT]
    return Skipped(text) if detail.get("on_reject") == OnEnd.SKIP else Failure("Rejected", text)


def _key(pattern: str, values: Sequence[JSON]) -> str:
    plain = [int(one) if type(one) is float and one.is_integer() else one for one in values]
    return hashlib.blake2b(orjson.dumps(plain), digest_size=16, key=pattern.encode()).hexdigest()


def _at(event: Event, path: str) -> JSON:
    first, *below = path.split(".")
    value: JSON = event.data if first == "data" else event.attribute(first)
    for step in below:
        if type(value) is not dict:
            return None
        value = value.get(step)
    return value


def _comparable(path: str, value: object) -> JSON:
    if not isinstance(value, str | int | float):
        raise TaskFailed(
            _INVALID,
            f"match: the value of {path} must be a text, a number, true or false, not {_kind(value)}",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise TaskFailed(_INVALID, f"match: the value of {path} is no number")
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        raise TaskFailed(_INVALID, f"match: the value of {path} is longer than {_LONGEST_VALUE} characters")
    return _json(f"match: the value of {path}", value)


def _json(name: str, value: object) -> JSON:
    """The value as JSON has it."""
    try:
        made: JSON = orjson.loads(orjson.dumps(value))
    except (TypeError, ValueError) as error:
        raise TaskFailed(_INVALID, f"{name} is no JSON: {error}") from error
    return made


def _duration(name: str, value: object) -> int:
    """Microseconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        limit = LONGEST.total_seconds()
        value = timedelta(seconds=min(max(value, -1.0), limit * 2))
    if not isinstance(value, timedelta):
        raise TaskFailed(_INVALID, f"{name} must be seconds, not {_kind(value)}")
    if not timedelta(0) <= value <= LONGEST:
        raise TaskFailed(_INVALID, f"{name} must be from 0 to a century")
    return value // timedelta(microseconds=1)


def _moment(value: object) -> int:
    if isinstance(value, datetime):
        return to_us(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    if not isinstance(value, str):
        raise TaskFailed(_INVALID, f"a moment is RFC 3339 text, not {_kind(value)}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise TaskFailed(_INVALID, f"{value[:60]!r} is no time; it must be RFC 3339 text") from None
    if moment.tzinfo is None:
        raise TaskFailed(_INVALID, f"{value[:60]!r} does not say in which zone")
    return to_us(moment)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
