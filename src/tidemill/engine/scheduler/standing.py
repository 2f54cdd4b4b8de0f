"""What the scheduler keeps beside one live run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.engine.scheduler.ask import Ask, asks_of
from tidemill.engine.scheduler.limit import Limit
from tidemill.engine.scheduler.sharing import Flow
from tidemill.engine.scheduler.ticket import Ticket
from tidemill.storage.contract import NewRun, RunSummary

__all__ = ["Plan", "Standing", "key_of"]


class Plan:
    """One version of one DAG as the scheduler sees it."""

    __slots__ = ("asks", "dag", "flows", "past", "pools", "weight")

    def __init__(self, dag: Dag) -> None:
        self.dag = dag
        self.asks = asks_of(dag)
        self.weight = dag.weight
        self.pools = frozenset(node.policy.pool for node in dag.tasks)
        #: Tasks that depend on the past, by index.
        self.past: dict[int, Ask] = {
            node.index: ask
            for node, ask in zip(dag.tasks, self.asks or (), strict=False)
            if ask is not None and ask.depends_on_past
        }
        #: Queues of tasks that ask nothing, by executor, where all runs of the DAG share them.
        self.flows: dict[str, Flow] = {}


@dataclass(slots=True, eq=False)
class Standing:
    """One run as the scheduler sees it."""

    plan: Plan
    key: str
    #: As `Plan.flows`, of its own where keys share the pool.
    flows: dict[str, Flow]
    #: Open tickets by task run.
    tickets: dict[int, Ticket] = field(default_factory=dict)
    #: Its place among the runs of its DAG, where a task depends on the past (see `engine.past`).
    past: Any = None
    #: By task, for `max_active_per_run`.
    limits: dict[str, Limit] = field(default_factory=dict)


def key_of(run: NewRun | RunSummary) -> str:
    """The key that its trigger's admission counts the run under; empty for none."""
    admission = getattr(run, "admission", None)
    if admission is None:
        return ""
    slot = orjson.loads(admission).get("slot")
    return slot if isinstance(slot, str) else ""
