"""Finds DAGs that start each other in a circle, by what their triggers say of completion events.

Found statically: a trigger can follow DAG A when what it asks of the type, the source and `data.dag` fits a
completion of A. What it asks beyond that is unknown here and taken as possible, but only when it asks for one
of these three: a rule about nothing but an order's amount says nothing of completions. A circle is allowed
(it may end by its data) and warned of; at run time the hop count stops it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tidemill.events import lifecycle
from tidemill.events.event import JSON, Event
from tidemill.patterns.cesql import attributes_of
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.index import Index
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import Rule, combine

if TYPE_CHECKING:
    import rustworkx

__all__ = ["TriggerRule", "circles", "cycle_warnings", "shortest_circle"]

#: States that a run's events tell of.
_STATES = ("queued", "started", "waiting", "succeeded", "failed", "cancelled")
_KNOWN_ATTRIBUTES = frozenset({"type", "source"})


@dataclass(frozen=True, slots=True)
class TriggerRule:
    """What a trigger asks for, as written, and what it starts."""

    name: str
    dag: str
    filters: JSON
    pattern: JSON


def cycle_warnings(triggers: Sequence[TriggerRule], dags: Sequence[str]) -> list[str]:
    """One sentence for every group of DAGs that start each other, naming a shortest circle of it."""
    starts = {trigger.name: trigger.dag for trigger in triggers}
    known = {trigger.name: rule for trigger in triggers if (rule := _known_part(trigger)) is not None}
    index = Index(known)
    known_dags = {*dags}
    edges: dict[tuple[str, str], str] = {}
    for dag in sorted(dags):
        for name in sorted(
            {name for event in _completions(dag) for name in index.match(event)}, reverse=True
        ):
            if starts[name] in known_dags:
                edges[dag, starts[name]] = name
    if not _has_circle(edges):  # nearly always: the graph library costs megabytes
        return []
    import rustworkx

    graph: rustworkx.PyDiGraph[str, str] = rustworkx.PyDiGraph(multigraph=False)
    nodes = {dag: graph.add_node(dag) for dag in sorted(dags)}
    for (a, b), name in edges.items():
        graph.add_edge(nodes[a], nodes[b], name)
    return [_sentence(graph, circle) for circle in circles(graph)]


def _has_circle(edges: Iterable[tuple[str, str]]) -> bool:
    following: TopologicalSorter[str] = TopologicalSorter()
    for a, b in edges:
        following.add(b, a)
    try:
        following.prepare()
    except CycleError:
        return True
    return False


def _completions(dag: str) -> Iterator[Event]:
    """Events of one run of `dag`, as far as they are known before it runs."""
    for state in _STATES:
        yield Event(
            id="completion",
            source=lifecycle.dag_source(dag),
            type=lifecycle.run_type(state),
            subject="completion",
            datacontenttype="application/json",
            data={"dag": dag, "state": state},
        )


def _known_part(trigger: TriggerRule) -> Rule | None:
    """What the trigger asks of completions' known parts; None when it asks only for other things."""
    filters = [kept for one in trigger.filters or [] if (kept := _known_filter(one)) is not None]
    pattern = _known_pattern(trigger.pattern or {})
    asks_nothing = not trigger.filters and not trigger.pattern
    if not filters and not pattern and not asks_nothing:
        return None
    rule = compile_filters(filters)
    return combine(rule, compile_pattern(pattern)) if pattern else rule


def _known_filter(written: JSON) -> JSON | None:
    """The part of one filter that known attributes decide; None when they cannot decide it."""
    kept: dict[str, JSON] = {}
    for dialect, argument in written.items():
        match dialect:
            case "exact" | "prefix" | "suffix":
                known = {name: text for name, text in argument.items() if name in _KNOWN_ATTRIBUTES}
                if known:
                    kept[dialect] = known
            case "all":
                parts = [part for one in argument if (part := _known_filter(one)) is not None]
                if parts:
                    kept[dialect] = parts
            case "any" | "not":
                # A branch that is not known could match, or not: then nothing is known of the whole.
                branches = argument if dialect == "any" else [argument]
                if all(_known_filter(one) == one for one in branches):
                    kept[dialect] = argument
            case "sql" if attributes_of(argument) <= _KNOWN_ATTRIBUTES:
                kept[dialect] = argument
    return kept or None


def _known_pattern(written: Mapping[str, JSON]) -> dict[str, JSON]:
    """The part of a pattern about the type, the source and `data.dag`."""
    kept: dict[str, JSON] = {name: written[name] for name in ("type", "source") if name in written}
    data = written.get("data")
    if isinstance(data, dict):
        known = {name: data[name] for name in ("dag", "state") if name in data}
        if "dag" in known or (known and kept):
            kept["data"] = known
    return kept


def circles(graph: rustworkx.PyDiGraph[str, str]) -> Iterator[list[int]]:
    """A shortest circle of every strongly connected group, by name of its first DAG."""
    import rustworkx

    for group in sorted(sorted(group) for group in rustworkx.strongly_connected_components(graph)):
        found = [circle for node in group if (circle := shortest_circle(graph, node))]
        if found:
            yield min(found, key=len)


def shortest_circle(graph: rustworkx.PyDiGraph[str, str], start: int) -> list[int] | None:
    """The shortest way from `start` back to itself, `start` at both ends; None when there is none."""
    before: dict[int, int] = {}
    level = [start]
    while level:
        following = []
        for node in level:
            for successor in sorted(graph.successor_indices(node)):
                if successor == start:
                    return _walk_back(before, start, node)
                if successor not in before:
                    before[successor] = node
                    following.append(successor)
        level = following
    return None


def _walk_back(before: Mapping[int, int], start: int, last: int) -> list[int]:
    way = [last]
    while way[-1] != start:
        way.append(before[way[-1]])
    return [*reversed(way), start]


def _sentence(graph: rustworkx.PyDiGraph[str, str], circle: Sequence[int]) -> str:
    steps = [
        f"{graph[a]} starts {graph[b]} (trigger {graph.get_edge_data(a, b)})"
        for a, b in itertools.pairwise(circle)
    ]
    return "DAGs start each other in a circle, which ends only at the hop limit: " + ", ".join(steps)
