"""The static event-flow graph: which DAGs and derivations follow from each other's events, and the loops in it. Pure.

An edge is there where what is known of an event fits a rule that asks for its type, source or DAG. It is certain where
that alone makes the rule match. A trigger with a loop policy ends loops; a chain is followed through one derivation
between two runs, and no further: where an event is derived of a derived one, only the hop limit ends the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tidemill.events import lifecycle
from tidemill.patterns.analysis import Analysis, Facts
from tidemill.patterns.condition import Equals
from tidemill.project.cycles import circles
from tidemill.project.model import Project
from tidemill.project.producers import COMPLETED, completions, derived

if TYPE_CHECKING:
    import rustworkx

__all__ = ["Loop", "loops"]

#: What a rule must ask about to be meant for events of our own making.
_TELLING = ("type", "source", "data.dag")


@dataclass(frozen=True, slots=True)
class Loop:
    """DAGs and derivations that follow from each other in a circle."""

    #: The first trigger or derivation of it.
    name: str
    others: Sequence[str]
    message: str


@dataclass(frozen=True, slots=True)
class _Edge:
    """One step: what it is by, and whether every event of the one before is taken."""

    by: str
    certain: bool
    #: Whether the trigger has a loop policy.
    limited: bool


def loops(project: Project, triggers: Mapping[str, Analysis]) -> list[Loop]:
    """A shortest circle of every group that no loop policy ends; `triggers` are the analyses of the triggers' rules."""
    import rustworkx

    graph: rustworkx.PyDiGraph[str, str] = rustworkx.PyDiGraph(multigraph=False)
    open_graph: rustworkx.PyDiGraph[str, str] = rustworkx.PyDiGraph(multigraph=False)
    names = [*(f"DAG {dag}" for dag in sorted(project.dags))]
    names += [f"derivation {one.name}" for one in project.derivations if not one.paused]
    nodes = {name: (graph.add_node(name), open_graph.add_node(name))[0] for name in names}
    edges = {
        (nodes[a], nodes[b]): edge for (a, b), edge in sorted(_edges(project, triggers).items()) if b in nodes
    }
    for (a, b), edge in edges.items():
        graph.add_edge(a, b, edge.by)
        if not edge.limited:
            open_graph.add_edge(a, b, edge.by)
    found = list(circles(open_graph))
    known = {node for circle in found for node in circle}
    derivations = {node for name, node in nodes.items() if name.startswith("derivation ")}
    for a, b in edges:
        # Through two derivations in a row a loop policy does not see what came before.
        if {a, b} <= derivations and not known & {a, b} and (way := _way(graph, b, a)):
            found.append([a, *way])
            known |= {*way}
    return [_loop(graph, circle, edges) for circle in found]


def _way(graph: rustworkx.PyDiGraph[str, str], start: int, end: int) -> list[int]:
    """A shortest way; empty where there is none."""
    import rustworkx

    found = rustworkx.dijkstra_shortest_paths(graph, start, target=end, default_weight=1.0)
    return list(found[end]) if end in found else []


def _edges(project: Project, triggers: Mapping[str, Analysis]) -> dict[tuple[str, str], _Edge]:
    derivations = {one.name: Analysis(one.rule) for one in project.derivations if not one.paused}
    following = [
        one for one in project.triggers if not one.paused and _may_follow(project, triggers[one.name])
    ]
    found: dict[tuple[str, str], _Edge] = {}
    for start, facts in _events(project):
        for trigger in following:
            analysis = triggers[trigger.name]
            if _is_taken(analysis, facts):
                edge = _Edge(trigger.name, analysis.must_match(facts), trigger.loops is not None)
                _keep(found, (start, f"DAG {trigger.dag}"), edge)
        for name, analysis in derivations.items():
            if _is_taken(analysis, facts):
                _keep(found, (start, f"derivation {name}"), _Edge(name, analysis.must_match(facts), False))
    return found


def _events(project: Project) -> Iterator[tuple[str, Facts]]:
    for dag in sorted(project.dags):
        for state in COMPLETED:
            yield f"DAG {dag}", completions(dag, state)
    for one in project.derivations:
        if not one.paused:
            yield f"derivation {one.name}", derived(one).facts


def _may_follow(project: Project, analysis: Analysis) -> bool:
    """Whether it can take any completion or derived event, asked once for rules that are many."""
    types = [Equals(lifecycle.run_type(state)) for state in COMPLETED]
    return bool(project.derivations) or analysis.may_match({"type": types})


def _is_taken(analysis: Analysis, facts: Facts) -> bool:
    return analysis.asks_of(_TELLING) and analysis.may_match(facts)


def _keep(found: dict[tuple[str, str], _Edge], place: tuple[str, str], edge: _Edge) -> None:
    """Of two steps between the same, the one that nothing ends counts, then the certain one."""
    before = found.get(place)
    if before is None or (edge.limited, not edge.certain) < (before.limited, not before.certain):
        found[place] = edge


def _loop(
    graph: rustworkx.PyDiGraph[str, str], circle: Sequence[int], edges: Mapping[tuple[int, int], _Edge]
) -> Loop:
    taken = [edges[a, b] for a, b in pairwise(circle)]
    steps = [f"{graph[a]} leads to {graph[b]} (by {edges[a, b].by})" for a, b in pairwise(circle)]
    sure = all(edge.certain for edge in taken)
    how = "always" if sure else "possibly, as far as can be seen without events"
    message = f"events lead back to themselves, {how}, and only the hop limit ends it: {', '.join(steps)}"
    first, *others = dict.fromkeys(edge.by for edge in taken)
    return Loop(first, others, message)
