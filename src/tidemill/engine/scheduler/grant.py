"""What one attempt has taken, given back once when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidemill.engine.scheduler.amounts import Holding
from tidemill.engine.scheduler.limit import Limit
from tidemill.engine.scheduler.pool import ExecutorSlots, Pool
from tidemill.engine.scheduler.sharing import Account
from tidemill.runs.attempts import Outcome

__all__ = ["Grant"]


@dataclass(slots=True, eq=False)
class Grant:
    """One for each attempt that asks for something; one for all attempts of a DAG that ask nothing alike."""

    executor: ExecutorSlots
    pool: Pool
    account: Account
    #: Slots of the pool.
    slots: int
    holding: Holding | None = None
    limits: tuple[Limit, ...] = ()
    #: Whoever runs the attempt tells here what came of it; kept for the attempts that share it.
    report: Callable[[Outcome], None] | None = None
