"""Order and cycles of a directed graph given as upstream lists by index. Pure, deterministic, linear."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

__all__ = ["find_cycle", "sort_topologically"]


def sort_topologically(upstream: Sequence[Collection[int]]) -> list[int] | None:
    """Indexes so that each comes after its upstream, ties in the given order; None when there is a cycle."""
    missing = [len(sources) for sources in upstream]
    downstream: list[list[int]] = [[] for _ in upstream]
    for index, sources in enumerate(upstream):
        for source in sources:
            downstream[source].append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for target in downstream[index]:
            missing[target] -= 1
            if not missing[target]:
                heapq.heappush(ready, target)
    return order if len(order) == len(upstream) else None


def find_cycle(upstream: Sequence[Collection[int]]) -> list[int] | None:
    """A cycle in the direction of the flow, its first index repeated at the end; None when there is none.

    `[a, b, a]` says that b waits for a and a waits for b. A task that waits for itself gives `[a, a]`.
    """
    downstream: list[list[int]] = [[] for _ in upstream]
    for index, sources in enumerate(upstream):
        for source in sources:
            downstream[source].append(index)
    done = [False] * len(upstream)
    for root in range(len(upstream)):
        if not done[root] and (cycle := _walk(root, downstream, done)):
            return cycle
    return None


def _walk(root: int, downstream: Sequence[Sequence[int]], done: list[bool]) -> list[int] | None:
    path = [root]
    place = {root: 0}
    pending = [iter(downstream[root])]
    while path:
        for target in pending[-1]:
            if target in place:
                return [*path[place[target] :], target]
            if not done[target]:
                place[target] = len(path)
                path.append(target)
                pending.append(iter(downstream[target]))
                break
        else:
            done[path[-1]] = True
            del place[path.pop()]
            pending.pop()
    return None
