"""What tasks ask of pools and of this machine against what there ever is, told before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tidemill.dag.definition import Dag
from tidemill.engine.scheduler.amounts import Stock, shown
from tidemill.engine.scheduler.ask import Ask, asks_of
from tidemill.engine.scheduler.machine import machine, pool_limits
from tidemill.engine.scheduler.pool import PoolLimit
from tidemill.errors import SettingsError
from tidemill.project.remarks import Remark
from tidemill.settings import Settings

__all__ = ["check_demands"]


def check_demands(dags: Mapping[str, Dag], settings: Settings, root: Path) -> Iterator[Remark]:
    """Tasks of unknown pools, and tasks that ask for more than there ever is, with the numbers."""
    try:
        pools, stock = pool_limits(settings), Stock(machine(settings, root))
    except SettingsError as error:
        yield Remark("tidemill.toml", 0, 0, "settings", str(error))
        return
    for dag in dags.values():
        for node, ask in zip(dag.tasks, asks_of(dag) or (), strict=False):
            if ask is None:
                continue
            for rule, message in _problems(ask, pools, stock):
                told = f"DAG {dag.dag_id!r}: task {node.task_id!r} {message}"
                yield Remark(dag.file, node.line or dag.line, 0, rule, told)


def _problems(ask: Ask, pools: Mapping[str, PoolLimit], stock: Stock) -> Iterator[tuple[str, str]]:
    pool = pools.get(ask.pool)
    if pool is None:
        known = ", ".join(map(repr, sorted(pools)))
        yield "unknown-pool", f"is of pool {ask.pool!r}, and the settings have {known}"
    elif pool.slots and ask.slots > pool.slots:  # a pool of none is paused
        message = f"takes {ask.slots} slots of pool {ask.pool!r}, which has {pool.slots}"
        yield "impossible-resources", message
    if (lack := stock.lacks(ask.resources)) is not None:
        name, amount, total = lack
        message = f"asks for {shown(amount)} of {name!r}, and this machine has {shown(total)}"
        yield "impossible-resources", message
