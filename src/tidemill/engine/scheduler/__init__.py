"""Which ready task starts next: pools, resources, fair shares, priorities and limits.

1. Nothing here reads a clock, writes or starts anything: times are given, `Decisions` starts what `Scheduler.next`
   gives it.
2. What an attempt takes (a slot of its executor, slots of its pool, resources, a place under each limit) is in one
   `Grant`, which is given back once, whatever became of the attempt.
3. What a DAG does not ask for costs it nothing: tasks of the default pool without requests are queued without an
   object of their own.
"""

from __future__ import annotations

from tidemill.engine.scheduler.grant import Grant
from tidemill.engine.scheduler.scheduler import Scheduler

__all__ = ["Grant", "Scheduler"]
