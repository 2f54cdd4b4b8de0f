"""Which tasks can never start, whatever becomes of the others: proven, never guessed. Pure.

For each task the worlds are worked out in which it starts, and in which it counts as succeeded, failed or skipped below
it. A task with no world to start in is unreachable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from tidemill.dag.definition import Dag, NodeKind, TaskNode
from tidemill.dag.edges import Condition, Edge, EdgeKind
from tidemill.dag.policy import TriggerRule
from tidemill.dag.worlds import ANY_WORLD, NO_WORLD, Worlds, all_of, any_of, only

__all__ = ["unreachable"]

#: Task id of a branch to the ids that it can name; branches that may name anything are not in it.
Named = Mapping[str, Collection[str]]

_ALWAYS = frozenset({TriggerRule.ALWAYS, TriggerRule.ALL_DONE})


@dataclass(frozen=True, slots=True)
class _Fate:
    """The worlds in which a task starts, and counts as one thing or another."""

    starts: Worlds
    succeeded: Worlds
    failed: Worlds
    skipped: Worlds


def unreachable(dag: Dag, named: Named) -> Iterator[tuple[TaskNode, str]]:
    """Tasks that can never start, and why; what is below such a task is left out."""
    if dag.is_plain:
        return
    fates: list[_Fate] = []
    told = _told(dag)
    for node in dag.tasks:
        seen = [_seen(dag, node, above, fates[above], named) for above in node.upstream]
        starts = ANY_WORLD if _is_apart(node) else _starts(node.rule, seen)
        if not starts and all(fates[above].starts for above in node.upstream):
            yield node, _reason(dag, node, named)
        fates.append(_fate(node, starts, seen, is_told=node.index in told))


def _told(dag: Dag) -> frozenset[int]:
    """Tasks below which it matters how they end; the end of the others is not followed."""
    found = set()
    for node in dag.tasks:
        if node.edges or node.rule is not TriggerRule.ALL_SUCCESS:
            pending = list(node.upstream)
            while pending:
                above = pending.pop()
                if above not in found:
                    found.add(above)
                    pending.extend(dag.tasks[above].upstream)
    return frozenset(found)


def _is_apart(node: TaskNode) -> bool:
    """Whether something else than its rule decides when it starts."""
    return node.fate is not None or node.is_teardown or node.is_spawned


def _fate(node: TaskNode, starts: Worlds, seen: list[_Fate], *, is_told: bool) -> _Fate:
    never_failed, never_skipped = NO_WORLD, NO_WORLD
    if node.rule not in _ALWAYS and not _is_apart(node):
        is_usual = node.rule is TriggerRule.ALL_SUCCESS
        never_failed = any_of(one.failed for one in seen) if is_usual else ANY_WORLD
        never_skipped = any_of(one.skipped for one in seen) if is_usual else ANY_WORLD
    ends = {end: only(("end", node.index), end) if is_told else ANY_WORLD for end in ("ok", "bad", "none")}
    return _Fate(
        starts,
        all_of([starts, ends["ok"]]),
        any_of([all_of([starts, ends["bad"]]), never_failed]),
        any_of([all_of([starts, ends["none"]]), never_skipped]),
    )


def _seen(dag: Dag, node: TaskNode, above: int, fate: _Fate, named: Named) -> _Fate:
    """What of the upstream task counts for `node`."""
    edge = node.edges.get(above)
    kind = EdgeKind.SUCCESS if edge is None else edge.kind
    match kind:
        case EdgeKind.SUCCESS:
            return _chosen(dag, dag.tasks[above], node, fate, named)
        case EdgeKind.COMPLETION:
            ended = any_of([fate.succeeded, fate.failed, fate.skipped])
            return _Fate(fate.starts, ended, NO_WORLD, NO_WORLD)
        case EdgeKind.FAILURE:
            return _Fate(fate.starts, fate.failed, NO_WORLD, any_of([fate.succeeded, fate.skipped]))
        case EdgeKind.CONDITION:
            return _conditional(above, edge, fate)
        case _:
            assert_never(kind)


def _chosen(dag: Dag, branch: TaskNode, node: TaskNode, fate: _Fate, named: Named) -> _Fate:
    """A task below a branch goes on where it is named, one below a short circuit where the answer is true."""
    if branch.kind in (NodeKind.TASK, NodeKind.WAIT):
        return fate
    skipped = any_of([fate.succeeded, fate.skipped])
    if branch.kind is NodeKind.BRANCH and not _is_named(dag, branch, node, named):
        return _Fate(fate.starts, NO_WORLD, fate.failed, skipped)
    return _Fate(fate.starts, fate.succeeded, fate.failed, skipped)


def _is_named(dag: Dag, branch: TaskNode, node: TaskNode, named: Named) -> bool:
    """Whether the branch can name the task, or one that leads to it."""
    names = named.get(branch.task_id)
    if names is None or node.task_id in names:
        return True
    pending, above = list(node.upstream), set()
    while pending:
        index = pending.pop()
        if index not in above:
            above.add(index)
            pending.extend(dag.tasks[index].upstream)
    return any(dag.tasks[index].task_id in names for index in above)


def _conditional(above: int, edge: Edge | None, fate: _Fate) -> _Fate:
    condition = edge.condition if edge is not None else None
    holds, fails = _answers(above, condition)
    may_raise = condition is None or condition.values is None
    return _Fate(
        fate.starts,
        all_of([fate.succeeded, holds]),
        any_of([fate.failed, fate.succeeded]) if may_raise else fate.failed,
        any_of([all_of([fate.succeeded, fails]), fate.skipped]),
    )


def _answers(above: int, condition: Condition | None) -> tuple[Worlds, Worlds]:
    """The worlds in which a condition holds, and those in which it does not."""
    if condition is None:
        return ANY_WORLD, ANY_WORLD
    if condition.values is not None:
        try:
            variable, is_default = ("value", above, condition.path), condition.is_default
            return (
                only(variable, *condition.values, but=is_default),
                only(variable, *condition.values, but=not is_default),
            )
        except TypeError:  # values that cannot be compared quickly
            return ANY_WORLD, ANY_WORLD
    if condition.expression is not None:
        asked = ("asked", above, condition.path, condition.expression)
        return only(asked, True), only(asked, False)
    return ANY_WORLD, ANY_WORLD


def _starts(rule: TriggerRule, seen: list[_Fate]) -> Worlds:
    """The worlds in which a task with this rule starts."""
    if not seen:
        return ANY_WORLD
    ok, bad, none = ([getattr(one, name) for one in seen] for name in ("succeeded", "failed", "skipped"))
    match rule:
        case TriggerRule.ALL_SUCCESS:
            return all_of(ok)
        case TriggerRule.ALL_FAILED:
            return all_of(bad)
        case TriggerRule.ALL_SKIPPED:
            return all_of(none)
        case TriggerRule.ONE_SUCCESS:
            return any_of(ok)
        case TriggerRule.ONE_FAILED:
            return any_of(bad)
        case TriggerRule.ONE_DONE:
            return any_of([*ok, *bad])
        case TriggerRule.NONE_FAILED:
            return all_of(_either(ok, none))
        case TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            return all_of([*_either(ok, none), any_of(ok)])
        case TriggerRule.NONE_SKIPPED:
            return all_of(_either(ok, bad))
        case TriggerRule.ALWAYS | TriggerRule.ALL_DONE:
            return ANY_WORLD
        case _:
            assert_never(rule)


def _either(some: list[Worlds], others: list[Worlds]) -> list[Worlds]:
    return [any_of(pair) for pair in zip(some, others, strict=True)]


def _reason(dag: Dag, node: TaskNode, named: Named) -> str:
    for above in node.upstream:
        branch = dag.tasks[above]
        if branch.kind is NodeKind.BRANCH and not _is_named(dag, branch, node, named):
            told = ", ".join(map(repr, sorted(named[branch.task_id]))) or "nothing"
            return f"branch {branch.task_id!r} never names it (it names {told})"
    wanted = ", ".join(_waits(dag, node, above) for above in node.upstream)
    return f"its rule {node.rule.value} can never hold for {wanted}"


def _waits(dag: Dag, node: TaskNode, above: int) -> str:
    edge = node.edges.get(above)
    name = repr(dag.tasks[above].task_id)
    if edge is None:
        return name
    what = edge.kind.value if edge.condition is None else edge.condition.describe()
    return f"{name} ({what})"
