"""Admission, decided once more from the received times alone: groups, limits and periods, as the guide tells them.

Where the wall clock was set, times say nothing about order, and only what does not need them is checked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tidemill.testing.clock import START_US
from tidemill.testing.simulation.evidence import Evidence, Logged, Run
from tidemill.testing.simulation.model.routing import matches
from tidemill.testing.simulation.scenario import Scenario, TriggerSpec

__all__ = ["broken"]

#: Longest time from the commit of an event to its being seen by the router.
_NEAR_US = 1_000_000


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Every trigger whose admission has not done what it says."""
    ends = _ends(evidence)
    for trigger in scenario.triggers:
        if not trigger.admission:
            continue
        runs = [run for run in evidence.runs.values() if run.trigger == trigger.name]
        by_position = {event.position: event for event in evidence.events}
        keys = {run.run_id: _key(by_position[run.position]) for run in runs}
        yield from _concurrency(trigger, runs, keys, ends)
        if evidence.observed.jumps:
            continue
        mine: dict[str, list[Logged]] = defaultdict(list)
        for event in evidence.events:
            if matches(trigger, event) and int(event.extensions.get("hopcount", 0)) == 0:
                mine[_key(event)].append(event)
        for key, events in sorted(mine.items()):
            try:
                for what in _of_key(trigger, key, events, evidence, runs, keys, ends):
                    yield f"admission: {trigger.name} {key}: {what}"
            except _TooCloseError:
                continue


def _of_key(
    trigger: TriggerSpec,
    key: str,
    events: list[Logged],
    evidence: Evidence,
    runs: list[Run],
    keys: Mapping[str, str],
    ends: Mapping[str, int],
) -> Iterator[str]:
    spec = trigger.admission
    starts = sorted(run.queued_at for run in runs if keys[run.run_id] == key)
    if "idempotency" in spec:
        yield from _differ(trigger, events, evidence, _dropped_duplicates(spec, events), "duplicate_of")
    if "rate_limit" in spec:
        yield from _differ(trigger, events, evidence, _dropped_by_rate(spec, events), "dropped_by_limit")
    if "debounce" in spec:
        debounced = list(_debounced(spec["debounce"], events, evidence))
        yield from _groups(trigger, debounced, evidence, "debounced_into")
    if "batch" in spec:
        batched = list(_batched(spec["batch"], events, evidence))
        yield from _groups(trigger, batched, evidence, "batched_into")
    if "join" in spec:
        groups, expired = _joined(trigger, events, evidence)
        yield from _groups(trigger, ((group, 0) for group in groups), evidence, "joined_into")
        yield from _differ(trigger, events, evidence, expired, "expired")
    if "throttle" in spec:
        limit, period = spec["throttle"]["limit"], _us(spec["throttle"]["period"])
        for first, last in zip(starts, starts[limit:], strict=False):
            if last - first < period:
                yield f"{limit + 1} starts in {last - first} us of {period}"
    if spec.get("concurrency", {}).get("when_full") == "drop":
        mine = [run for run in runs if keys[run.run_id] == key]
        full = {
            event.position
            for event in events
            if sum(run.position < event.position < ends.get(run.run_id, 0) for run in mine)
            >= spec["concurrency"]["limit"]
        }
        yield from _differ(trigger, events, evidence, full, "dropped_by_limit")


def _concurrency(
    trigger: TriggerSpec, runs: Iterable[Run], keys: Mapping[str, str], ends: Mapping[str, int]
) -> Iterator[str]:
    if "concurrency" not in trigger.admission:
        return
    changes: list[tuple[int, int, str]] = []
    for run in runs:
        changes.append((run.commit, 1, keys[run.run_id]))
        ended = [entry.commit for entry in run.entries if entry.kind == "run_ended"]
        changes += [(commit, -1, keys[run.run_id]) for commit in ended]
    open_now: dict[str, int] = defaultdict(int)
    for _, change, key in sorted(changes):
        open_now[key] += change
        if open_now[key] > trigger.admission["concurrency"]["limit"]:
            yield f"admission: {trigger.name} {key}: {open_now[key]} runs are open at once"


def _dropped_duplicates(spec: Mapping[str, object], events: list[Logged]) -> set[int]:
    ttl, until, dropped = _us(spec["idempotency"]["ttl"]), 0, set()  # type: ignore[index]
    for event in events:
        if event.received_at < until:
            dropped.add(event.position)
        else:
            until = event.received_at + ttl
    return dropped


def _dropped_by_rate(spec: Mapping[str, object], events: list[Logged]) -> set[int]:
    limit, period = spec["rate_limit"]["limit"], _us(spec["rate_limit"]["period"])  # type: ignore[index]
    passed: list[int] = []
    dropped = set()
    for event in events:
        if sum(at > event.received_at - period for at in passed) >= limit:
            dropped.add(event.position)
        else:
            passed.append(event.received_at)
    return dropped


class _TooCloseError(Exception):
    """An event was on its way to the disk when something was due: both orders are right."""


def _is_after(event: Logged, due: int, evidence: Evidence) -> bool:
    """Whether an event came when `due` had passed."""
    if event.received_at < due <= START_US + evidence.commits[event.commit].at_us + _NEAR_US:
        raise _TooCloseError
    return event.received_at >= due


def _debounced(
    spec: Mapping[str, str], events: list[Logged], evidence: Evidence
) -> Iterator[tuple[list[Logged], int]]:
    """Groups, each with the time before which it must not start."""
    group: list[Logged] = []

    def due() -> int:
        quiet = group[-1].received_at + _us(spec["period"])
        return min(quiet, group[0].received_at + _us(spec["max_wait"])) if "max_wait" in spec else quiet

    for event in events:
        if group and _is_after(event, due(), evidence):
            yield group, due()
            group = []
        group.append(event)
    if group:
        yield group, due()


def _batched(
    spec: Mapping[str, object], events: list[Logged], evidence: Evidence
) -> Iterator[tuple[list[Logged], int]]:
    group: list[Logged] = []
    for event in events:
        if group and _is_after(event, group[0].received_at + _us(spec["period"]), evidence):
            yield group, group[0].received_at + _us(spec["period"])
            group = []
        group.append(event)
        if len(group) == spec["size"]:
            yield group, event.received_at
            group = []
    if group:
        yield group, group[0].received_at + _us(spec["period"])


def _joined(
    trigger: TriggerSpec, events: list[Logged], evidence: Evidence
) -> tuple[list[list[Logged]], set[int]]:
    window = _us(trigger.admission["join"]["window"])
    groups: list[list[Logged]] = []
    waiting: list[Logged] = []
    expired: set[int] = set()
    for event in events:
        expired |= {one.position for one in waiting if _is_after(event, one.received_at + window, evidence)}
        waiting = [one for one in waiting if one.position not in expired] + [event]
        if {one.type for one in waiting} == set(trigger.types):
            groups.append(waiting)
            waiting = []
    return groups, expired | {one.position for one in waiting}


def _groups(
    trigger: TriggerSpec, groups: Iterable[tuple[list[Logged], int]], evidence: Evidence, kind: str
) -> Iterator[str]:
    for group, due in groups:
        found = [
            evidence.dispositions.get((event.position, trigger.name), ("none", None, "")) for event in group
        ]
        expected = [kind] * (len(group) - 1) + ["run"]
        places = [event.position for event in group]
        if [one[0] for one in found] != expected or len({one[1] for one in found}) != 1:
            yield f"events {places} belong together and are {found}"
            continue
        run = evidence.runs.get(str(found[-1][1]))
        if run is not None and run.queued_at < due:
            yield f"events {places} were due at {due} and started {due - run.queued_at} us before"


def _differ(
    trigger: TriggerSpec, events: list[Logged], evidence: Evidence, expected: set[int], kind: str
) -> Iterator[str]:
    found = {
        event.position
        for event in events
        if evidence.dispositions.get((event.position, trigger.name), ("",))[0] == kind
    }
    if found != expected:
        yield f"{sorted(found)} are {kind}, and {sorted(expected)} should be"


def _ends(evidence: Evidence) -> dict[str, int]:
    """Position of each run's completion event."""
    ended = ("dev.tidemill.run.succeeded.v1", "dev.tidemill.run.failed.v1", "dev.tidemill.run.cancelled.v1")
    return {str(event.subject): event.position for event in evidence.events if event.type in ended}


def _key(event: Logged) -> str:
    return str(event.data["key"]) if isinstance(event.data, dict) and "key" in event.data else ""


def _us(text: object) -> int:
    return int(str(text).removesuffix("s")) * 1_000_000
