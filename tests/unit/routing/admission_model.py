"""What admission says, in as few words as possible: every state is a list that is searched, every time is looked at.

Written from `docs/how-to/admission.md`, not from the code: a group is (events, lead), an event its number. Times are
whole numbers, and `tick` is called for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tidemill.project.admission import Admission, JoinMode, WhenFull


@dataclass
class Event:
    number: int
    at: int
    key: str
    other: str = ""
    priority: int = 0
    part: int = 0


@dataclass
class Group:
    events: list[Event]
    lead: Event
    tags: dict[int, str] = field(default_factory=dict)
    since: int = 0
    key: str = ""


@dataclass
class Run:
    group: Group
    started: int
    is_cancelled: bool = False


class Model:
    def __init__(self, spec: Admission) -> None:
        self.spec = spec
        self.kinds: dict[int, str] = {}
        self.started: list[tuple[int, int, list[int]]] = []
        self.live: dict[int, Run] = {}
        self.now = 0
        self.accepted: list[Event] = []
        self.passed: list[tuple[str, int]] = []
        self.starts: list[tuple[str, int]] = []
        self.late: list[tuple[str, int, int]] = []
        self.waiting: dict[str, list[Group]] = {
            stage: [] for stage in ("join", "debounce", "batch", "throttle", "concurrency")
        }

    @property
    def held(self) -> set[int]:
        return {one.number for groups in self.waiting.values() for group in groups for one in group.events}

    # ── what happens ──

    def tick(self, now: int) -> None:
        self.now = now
        while (due := min(self._due(), default=None)) is not None:
            _, _, key, stage = due
            getattr(self, f"_ring_{stage}")(key)
        while full := [g for g in self.waiting["throttle"] if self._has_room(g.key)]:
            first = _next(full)
            self.waiting["throttle"].remove(first)
            self.starts.append((first.key, now))
            self._concurrency(first)

    def _due(self) -> Iterator[tuple[int, int, str, str]]:
        """Everything that is due, the earliest first, then by the order of the stages, then by key."""
        spec, now = self.spec, self.now
        for key in {g.key for g in self.waiting["join"]}:
            ends = min(self._ends(g) for g in self.waiting["join"] if g.key == key)
            if ends <= now:
                yield ends, 0, key, "join"
        for key in {g.key for g in self.waiting["debounce"]}:
            assert spec.debounce
            mine = [g for g in self.waiting["debounce"] if g.key == key]
            due = mine[-1].since + spec.debounce.period
            if spec.debounce.max_wait is not None:
                due = min(due, mine[0].since + spec.debounce.max_wait)
            if due <= now:
                yield due, 1, key, "debounce"
        for key in {g.key for g in self.waiting["batch"]}:
            assert spec.batch
            due = min(g.since for g in self.waiting["batch"] if g.key == key) + spec.batch.period
            if due <= now:
                yield due, 2, key, "batch"

    def come(self, event: Event) -> None:
        spec = self.spec
        if spec.idempotency:
            ttl, running = spec.idempotency.ttl, spec.idempotency.while_running
            under_way = self.held | {e.number for run in self.live.values() for e in run.group.events}
            for first in self.accepted:
                if first.key == event.key and (
                    (ttl is not None and event.at < first.at + ttl) or (running and first.number in under_way)
                ):
                    self.kinds[event.number] = "duplicate_of"
                    return
            self.accepted.append(event)
        if spec.rate_limit:
            lately = [
                at for key, at in self.passed if key == event.other and at > event.at - spec.rate_limit.period
            ]
            if len(lately) >= spec.rate_limit.limit:
                self.kinds[event.number] = "dropped_by_limit"
                return
            self.passed.append((event.other, event.at))
        self._join(Group([event], event))

    def end(self, lead: int) -> None:
        run = self.live.pop(lead)
        key = run.group.lead.other
        if self.spec.concurrency:
            while self._free(key) > 0 and (mine := self._of("concurrency", key)):
                group = _next(mine)
                self.waiting["concurrency"].remove(group)
                self._run(group)

    def cancel(self, key: str) -> list[int]:
        for stage, groups in self.waiting.items():
            for group in list(groups):
                for event in [one for one in group.events if one.key == key]:
                    self.kinds[event.number] = "cancelled"
                    group.events.remove(event)
                    if group.events and event is group.lead:
                        group.lead = group.events[-1]
                if not group.events:
                    groups.remove(group)
            del stage
        self._take_again()
        return [lead for lead, run in self.live.items() if all(one.key == key for one in run.group.events)]

    def _take_again(self) -> None:
        """What waits to start, and has a lead with another key now, has to do with the limits of that key."""
        for stage, take in (("concurrency", self._concurrency), ("throttle", self._throttle)):
            astray = [group for group in self.waiting[stage] if group.lead.other != group.key]
            self.waiting[stage] = [group for group in self.waiting[stage] if group not in astray]
            for group in sorted(astray, key=lambda group: (-group.lead.priority, group.lead.number)):
                take(group)

    # ── stages ──

    def _join(self, group: Group) -> None:
        join, event = self.spec.join, group.lead
        if join is None:
            self._debounce(group)
            return
        key = event.other
        if any(k == key and event.at < until for k, until, _ in self.late):
            self.kinds[event.number] = "joined_into"
            return
        mine = self._of("join", key)
        if join.mode is JoinMode.SEQUENCE and event.part > _progress(mine):
            self.kinds[event.number] = "not_joined"
            return
        if join.mode is JoinMode.ABSENCE:
            if event.part == 0 and any(g.lead.part for g in mine):
                self.kinds[event.number] = "cancelled"
                return
            if event.part:
                for g in [g for g in mine if not g.lead.part]:
                    self.kinds[g.lead.number] = "cancelled"
                    self.waiting["join"].remove(g)
                if not join.lookback:
                    self.kinds[event.number] = "not_joined"
                    return
        self._wait("join", group, key)
        mine = self._of("join", key)
        if join.mode is JoinMode.SEQUENCE:
            complete = _progress(mine) == len(join.parts)
        else:
            complete = len({g.lead.part for g in mine}) >= join.at_least
        if complete and join.mode is not JoinMode.ABSENCE:
            self._joined(key)

    def _joined(self, key: str) -> None:
        assert self.spec.join
        group = self._all("join", key, "joined_into")
        if self.spec.join.lateness:
            self.late.append((key, self.now + self.spec.join.lateness, group.lead.number))
        self._debounce(group)

    def _ends(self, group: Group) -> int:
        join = self.spec.join
        assert join
        return group.since + (
            join.lookback if join.mode is JoinMode.ABSENCE and group.lead.part else join.window
        )

    def _ring_join(self, key: str) -> None:
        join = self.spec.join
        assert join
        if join.expiry == "start" and join.mode is not JoinMode.ABSENCE:
            self._joined(key)
            return
        for group in [g for g in self._of("join", key) if self._ends(g) <= self.now]:
            self.waiting["join"].remove(group)
            if join.mode is JoinMode.ABSENCE and group.lead.part == 0:
                self._debounce(group)
            else:
                self.kinds[group.lead.number] = "expired"

    def _debounce(self, group: Group) -> None:
        if self.spec.debounce:
            self._wait("debounce", group, group.lead.key)
        else:
            self._batch(group)

    def _ring_debounce(self, key: str) -> None:
        self._batch(self._all("debounce", key, "debounced_into"))

    def _batch(self, group: Group) -> None:
        if self.spec.batch is None:
            self._throttle(group)
            return
        self._wait("batch", group, group.lead.other)
        if sum(len(g.events) for g in self._of("batch", group.lead.other)) >= self.spec.batch.size:
            self._ring_batch(group.lead.other)

    def _ring_batch(self, key: str) -> None:
        self._throttle(self._all("batch", key, "batched_into"))

    def _has_room(self, key: str) -> bool:
        throttle = self.spec.throttle
        assert throttle
        lately = [at for k, at in self.starts if k == key and at > self.now - throttle.period]
        return len(lately) < throttle.limit

    def _throttle(self, group: Group) -> None:
        if self.spec.throttle is None:
            self._concurrency(group)
            return
        key = group.lead.other
        if self._has_room(key) and not self._of("throttle", key):
            self.starts.append((key, self.now))
            self._concurrency(group)
        else:
            self._wait("throttle", group, key)

    def _free(self, key: str) -> int:
        assert self.spec.concurrency
        return self.spec.concurrency.limit - sum(run.group.lead.other == key for run in self.live.values())

    def _concurrency(self, group: Group) -> None:
        spec, key = self.spec.concurrency, group.lead.other
        if spec is None or (self._free(key) > 0 and not self._of("concurrency", key)):
            self._run(group)
            return
        if spec.when_full is WhenFull.DROP:
            for event in group.events:
                self.kinds[event.number] = "dropped_by_limit"
            return
        self._wait("concurrency", group, key)
        if spec.when_full is WhenFull.COALESCE and len(self._of("concurrency", key)) > 1:
            self._wait("concurrency", self._all("concurrency", key, "coalesced_into"), key)
        if spec.when_full is WhenFull.CANCEL_RUNNING:
            while len(mine := self._of("concurrency", key)) > spec.limit:
                oldest = min(mine, key=lambda g: g.lead.number)
                self.waiting["concurrency"].remove(oldest)
                for event in oldest.events:
                    self.kinds[event.number] = "cancelled"

    def unwanted(self) -> list[int]:
        """Runs that are to end because newer events wait for their slots: the oldest."""
        spec = self.spec.concurrency
        if spec is None or spec.when_full is not WhenFull.CANCEL_RUNNING:
            return []
        found = []
        for key in {g.key for g in self.waiting["concurrency"]}:
            running = [lead for lead, run in self.live.items() if run.group.lead.other == key]
            found += running[: max(len(self._of("concurrency", key)) - self._free(key), 0)]
        return found

    def _run(self, group: Group) -> None:
        for event in group.events:
            self.kinds[event.number] = "run" if event is group.lead else group.tags[event.number]
        self.live[group.lead.number] = Run(group, self.now)
        self.started.append((self.now, group.lead.number, [event.number for event in group.events]))

    # ── lists ──

    def _of(self, stage: str, key: str) -> list[Group]:
        return [group for group in self.waiting[stage] if group.key == key]

    def _wait(self, stage: str, group: Group, key: str) -> None:
        group.key, group.since = key, self.now
        self.waiting[stage].append(group)

    def _all(self, stage: str, key: str, tag: str) -> Group:
        mine = self._of(stage, key)
        self.waiting[stage] = [group for group in self.waiting[stage] if group.key != key]
        lead = max((group.lead for group in mine), key=lambda one: one.number)
        tags = {number: kind for group in mine for number, kind in group.tags.items()}
        tags.update({group.lead.number: tag for group in mine if group.lead is not lead})
        events = sorted((one for group in mine for one in group.events), key=lambda one: one.number)
        return Group(events, lead, tags)


def _next(groups: list[Group]) -> Group:
    return min(groups, key=lambda group: (-group.lead.priority, group.lead.number))


def _progress(groups: list[Group]) -> int:
    reached = 0
    for group in groups:
        reached += group.lead.part == reached
    return reached
