"""What each task of a DAG asks of the scheduler, worked out once for each version of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.dag.definition import Dag, TaskNode
from tidemill.dag.policy import DEFAULT_POLICY, DEFAULT_POOL, WeightRule
from tidemill.dag.resources import NO_RESOURCES, Resources
from tidemill.engine.scheduler.amounts import Amounts, amounts_of

__all__ = ["HERE", "Ask", "asks_of", "priorities_of"]

#: Executors whose attempts use this machine's resources; a cluster counts its own.
HERE = frozenset({"loop", "thread", "process"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The request of one task; tasks of one `shape` fit or do not fit alike."""

    dag_id: str
    task_id: str
    executor: str
    pool: str
    #: Slots of the pool.
    slots: int
    resources: Amounts
    #: By its weight rule.
    priority: int
    max_active: int | None
    max_active_per_run: int | None
    #: Microseconds from ready to started; None for any time.
    start_timeout: int | None
    depends_on_past: bool

    @property
    def shape(self) -> tuple[str, str, int, Amounts]:
        """What decides where it waits."""
        return (self.pool, self.executor, self.slots, self.resources)


def asks_of(dag: Dag) -> tuple[Ask | None, ...] | None:
    """What the tasks ask, by their nodes' indexes; None for one that asks nothing, None where none asks anything."""
    priorities = priorities_of(dag.tasks)
    asks = tuple(_ask(dag.dag_id, node, priorities.get(node.index, 0)) for node in dag.tasks)
    return asks if any(ask is not None for ask in asks) else None


def _ask(dag_id: str, node: TaskNode, priority: int) -> Ask | None:
    policy = node.policy
    resources = _resources(node)
    if not resources and not priority:
        if policy is DEFAULT_POLICY:
            return None
        asks = (policy.max_active, policy.max_active_per_run, policy.start_timeout)
        is_default = policy.pool == DEFAULT_POOL and policy.pool_slots == 1 and not policy.depends_on_past
        if is_default and asks == (None, None, None):
            return None
    timeout = policy.start_timeout
    return Ask(
        dag_id=dag_id,
        task_id=node.task_id,
        executor=node.executor,
        pool=policy.pool,
        slots=policy.pool_slots,
        resources=resources,
        priority=priority,
        max_active=policy.max_active,
        max_active_per_run=policy.max_active_per_run,
        start_timeout=None if timeout is None else max(1, round(timeout.total_seconds() * 1_000_000)),
        depends_on_past=policy.depends_on_past,
    )


def _resources(node: TaskNode) -> Amounts:
    resources: Resources = node.resources
    if resources is NO_RESOURCES or node.executor not in HERE:
        return ()
    return amounts_of(resources)


def priorities_of(nodes: Sequence[TaskNode]) -> Mapping[int, int]:
    """The priorities of tasks by index, those that are 0 left out.

    A task's own for `absolute`; plus those of all tasks below it, each once, for `downstream`; plus those of all
    tasks above it for `upstream`.
    """
    own = {node.index: node.policy.priority for node in nodes if node.policy.priority}
    if not own:
        return {}
    rules = {node.policy.weight_rule for node in nodes}
    below = _reached(nodes, upward=False) if WeightRule.DOWNSTREAM in rules else {}
    above = _reached(nodes, upward=True) if WeightRule.UPSTREAM in rules else {}
    made = {}
    for node in nodes:
        match node.policy.weight_rule:
            case WeightRule.DOWNSTREAM:
                others = below[node.index]
            case WeightRule.UPSTREAM:
                others = above[node.index]
            case WeightRule.ABSOLUTE:
                others = 0
        made[node.index] = own.get(node.index, 0) + sum(
            weight for index, weight in own.items() if others >> index & 1
        )
    return {index: priority for index, priority in made.items() if priority}


def _reached(nodes: Sequence[TaskNode], *, upward: bool) -> dict[int, int]:
    """The indexes of all tasks above or below each one, as bits: every upstream task has a smaller index."""
    found: dict[int, int] = {}
    for node in nodes if upward else reversed(nodes):
        bits = 0
        for index in node.upstream if upward else node.downstream:
            bits |= found[index] | 1 << index
        found[node.index] = bits
    return found
