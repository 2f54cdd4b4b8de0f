"""A scheduler without an engine: tasks are queued, started and ended by hand, under a time of the test's own."""

from __future__ import annotations

from typing import Any

from tidemill import dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler import Grant, Scheduler
from tidemill.runs.state import RunState, TaskState
from tidemill.storage.contract import NewRun

__all__ = ["Scene", "make_dag"]

Started = tuple[str, Grant]


def make_dag(dag_id: str, *tasks: dict[str, Any], weight: float = 1.0) -> Dag:
    """A DAG of tasks t0, t1, ... without dependencies, each with these options."""

    @task
    async def step() -> None: ...

    @dag(dag_id=dag_id, weight=weight)
    def work() -> None:
        for number, options in enumerate(tasks):
            step.override(task_id=f"t{number}", **options)()

    built = build(work)
    assert isinstance(built, Dag), built
    return built


class Scene:
    """One scheduler and what runs."""

    def __init__(self, executors: dict[str, int] | None = None, **settings: Any) -> None:
        self.scheduler = Scheduler(executors or {"loop": 1000}, **settings)
        self.now = 1_000_000_000
        self.scheduler.tick(self.now)
        #: What runs, by run and task.
        self.running: dict[str, Grant] = {}
        self.runs = 0

    def run(self, made: Dag, *, key: str = "") -> LiveRun:
        """A run of which nothing is queued yet."""
        self.runs += 1
        admission = f'{{"slot": "{key}", "open": null, "cancel": null}}' if key else None
        run = NewRun(
            run_id=f"{made.dag_id}-{self.runs}",
            dag=made.dag_id,
            version=made.version,
            trigger="manual",
            position=1,
            event_source="",
            event_id="",
            parameters=b"{}",
            queued_at=0,
            correlation_id="",
            hop_count=0,
            admission=admission,
        )
        live = LiveRun(run, made, RunState(run.run_id, made, b"{}"))
        self.scheduler.enter(live)
        return live

    def queue(self, live: LiveRun, *indexes: int) -> None:
        """These tasks become ready; all without any."""
        for index in indexes or range(len(live.dag.tasks)):
            live.state.tasks[index] = TaskState.READY
            ticket = self.scheduler.queue(live, index)
            if ticket is not None:
                self.scheduler.wait(ticket)

    def start(self, most: int = 1_000_000) -> list[str]:
        """Start what may start; the names of what did, in order."""
        names = []
        while len(names) < most and (entry := self.scheduler.next()) is not None:
            live, index = entry[3], entry[4]
            if live.state.tasks[index] is not TaskState.READY:
                self.scheduler.pass_over(is_gone=True)
                continue
            live.state.tasks[index] = TaskState.RUNNING
            name = f"{live.run_id}/t{index}"
            names.append(name)
            self.running[name] = self.scheduler.take()
        return names

    def end(self, *names: str) -> None:
        """These attempts have ended; all without any."""
        for name in names or list(self.running):
            self.scheduler.release(self.running.pop(name))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += round(seconds * 1_000_000)
        self.scheduler.tick(self.now)

    def is_idle(self) -> bool:
        """Whether nothing is taken anywhere, and nothing waits."""
        scheduler = self.scheduler
        pools = [pool for name in scheduler.limits for pool in scheduler.pools(name)]
        return (
            scheduler.running == 0
            and scheduler.waiting == 0
            and not any(scheduler.stock.used.values())
            and not any(pool.used for pool in pools)
            and not any(account.used for pool in pools for account in pool.accounts.values())
        )
