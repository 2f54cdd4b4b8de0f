"""What would have been: graphs run by list scheduling on a number of slots, in no time. Pure, deterministic.

1. A slot never rests while a task that may start waits; nothing is interrupted.
2. Who waits is taken by priority, then by the order that is asked for: RANK (the longest way to the end first, as the
   engine's scheduler does under contention) or FIFO (in the order in which tasks became ready).
3. What comes out is never shorter than `lower_bound`: the longest way through a graph, and the work over the slots.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tidemill.dag.critical_path import longest_paths, upward_rank

__all__ = ["Order", "Plan", "Work", "changed", "lower_bound", "simulate"]


class Order(StrEnum):
    """Who is next among those that wait for a slot."""

    RANK = "rank"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One graph to be run: numbers in topological order, durations in seconds."""

    upstream: Sequence[Sequence[int]]
    #: What the tasks take.
    durations: Sequence[float]
    #: What they are expected to take, which the order goes by; the durations without it.
    expected: Sequence[float] | None = None
    #: When the run begins, in seconds.
    begins: float = 0.0
    #: Tasks of this graph that run at once; None for no limit but the slots.
    limit: int | None = None
    #: Equal tasks that one task stands for (a map), each of its duration; 1 for all that are not named.
    copies: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the work went."""

    #: Seconds from 0 to the last end.
    makespan: float
    #: Per graph, per task: when it started first and ended last.
    starts: Sequence[Sequence[float]]
    ends: Sequence[Sequence[float]]


def lower_bound(works: Sequence[Work], slots: int) -> float:
    """No order can end sooner on so many slots."""
    longest = max(
        (work.begins + longest_paths(work.upstream, work.durations).length for work in works), default=0
    )
    total = sum(
        seconds * work.copies.get(index, 1) for work in works for index, seconds in enumerate(work.durations)
    )
    begins = min((work.begins for work in works), default=0.0)
    limited = max((work.begins + _total(work) / work.limit for work in works if work.limit), default=0.0)
    return float(max(longest, begins + total / slots, limited))


def changed(
    work: Work,
    index_of: Mapping[str, int],
    *,
    without: Sequence[str] = (),
    faster: Mapping[str, float] | None = None,
) -> Work:
    """The same work with tasks that take no time at all, or a share of theirs.

    Raises `KeyError` with the name of a task that is not there.
    """
    durations = list(work.durations)
    expected = list(work.durations if work.expected is None else work.expected)
    for name, share in [*((name, 0.0) for name in without), *(faster or {}).items()]:
        index = index_of[name]
        durations[index] *= share
        expected[index] *= share
    return replace(work, durations=durations, expected=expected)


def simulate(works: Sequence[Work], slots: int, *, order: Order = Order.RANK) -> Plan:
    """Run all of the work on `slots` slots."""
    return _Simulation(works, slots, order).run()


def _total(work: Work) -> float:
    return sum(seconds * work.copies.get(index, 1) for index, seconds in enumerate(work.durations))


class _Simulation:
    def __init__(self, works: Sequence[Work], slots: int, order: Order) -> None:
        self._works = works
        self._free = slots
        self._order = order
        self._downstream = [_turned(work.upstream) for work in works]
        self._ranks = [
            upward_rank(below, work.durations if work.expected is None else work.expected)
            for work, below in zip(works, self._downstream, strict=True)
        ]
        self._missing = [[len(above) for above in work.upstream] for work in works]
        #: Copies that have not started, and not ended.
        self._to_start = [
            [work.copies.get(index, 1) for index in range(len(work.durations))] for work in works
        ]
        self._to_end = [list(copies) for copies in self._to_start]
        self._running = [0] * len(works)
        self._starts = [[0.0] * len(work.durations) for work in works]
        self._ends = [[0.0] * len(work.durations) for work in works]
        #: (key, order of arrival, graph, task).
        self._waiting: list[tuple[float, int, int, int]] = []
        #: The same, of graphs that are at their limit.
        self._held: list[list[tuple[float, int, int, int]]] = [[] for _ in works]
        self._arrivals = 0
        #: (time, order, graph, task); a task of -1: the graph begins.
        self._events: list[tuple[float, int, int, int]] = []

    def run(self) -> Plan:
        for graph, work in enumerate(self._works):
            heapq.heappush(self._events, (work.begins, graph, graph, -1))
        number, now = len(self._works), 0.0
        while self._events:
            now = self._events[0][0]
            while self._events and self._events[0][0] == now:
                _, _, graph, task = heapq.heappop(self._events)
                self._happened(now, graph, task)
            for graph, task in self._taken(now):
                number += 1
                end = now + self._works[graph].durations[task]
                heapq.heappush(self._events, (end, number, graph, task))
        return Plan(
            max((max(ends, default=0.0) for ends in self._ends), default=0.0), self._starts, self._ends
        )

    def _happened(self, now: float, graph: int, task: int) -> None:
        if task < 0:
            self._release(
                [index for index, missing in enumerate(self._missing[graph]) if not missing], graph, now
            )
            return
        self._free += 1
        self._running[graph] -= 1
        if self._held[graph]:
            heapq.heappush(self._waiting, heapq.heappop(self._held[graph]))
        self._to_end[graph][task] -= 1
        if not self._to_end[graph][task]:
            self._release(self._ended(graph, task, now), graph, now)

    def _release(self, ready: list[int], graph: int, now: float) -> None:
        """These wait from now on; those that take no time have ended, with what that releases."""
        work = self._works[graph]
        place = 0
        while place < len(ready):
            task = ready[place]
            place += 1
            if work.durations[task] > 0 and self._to_start[graph][task]:
                # An old run is overtaken by younger ones for no longer than its own longest way, as in the engine.
                key = work.begins - self._ranks[graph][task] if self._order is Order.RANK else 0.0
                self._arrivals += 1
                heapq.heappush(self._waiting, (key, self._arrivals, graph, task))
            else:
                self._starts[graph][task] = now
                ready.extend(self._ended(graph, task, now))

    def _ended(self, graph: int, task: int, now: float) -> list[int]:
        """What waited for this task only."""
        self._ends[graph][task] = now
        released = []
        for below in self._downstream[graph][task]:
            self._missing[graph][below] -= 1
            if not self._missing[graph][below]:
                released.append(below)
        return released

    def _taken(self, now: float) -> list[tuple[int, int]]:
        """Those that start now, as far as there are slots."""
        taken: list[tuple[int, int]] = []
        while self._free and self._waiting:
            entry = heapq.heappop(self._waiting)
            _, _, graph, task = entry
            limit, left = self._works[graph].limit, self._to_start[graph][task]
            room = left if limit is None else limit - self._running[graph]
            if room <= 0:
                heapq.heappush(self._held[graph], entry)
                continue
            if left == self._works[graph].copies.get(task, 1):
                self._starts[graph][task] = now
            count = min(left, self._free, room)
            self._to_start[graph][task] = left - count
            self._free -= count
            self._running[graph] += count
            taken.extend([(graph, task)] * count)
            if left > count:
                heapq.heappush(self._waiting, entry)
        return taken


def _turned(upstream: Sequence[Sequence[int]]) -> list[list[int]]:
    downstream: list[list[int]] = [[] for _ in upstream]
    for index, above in enumerate(upstream):
        for one in above:
            downstream[one].append(index)
    return downstream
