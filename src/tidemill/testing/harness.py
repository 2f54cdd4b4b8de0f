"""A project in this process, under virtual time: the way to test workflows, and how we test the engine.

    async with Harness(dags=[my_dag]) as harness:
        run_id = await harness.start("my_dag", order={"id": 7})
        await harness.run_until_done()
        run = await harness.run(run_id)
        assert run.state == "succeeded"
        assert run.result("load") == 3

Everything is real (SQLite in a temporary folder or a PostgreSQL database, router, engine, executors, sources, sinks)
but the outside and the time: nothing that waits for the clock (retries, timeouts, schedules) goes on before the test
says `advance`; what would be sent is kept (`deliveries`). Tasks that sleep by themselves sleep in real time. So does
the database answer: virtual time stands still until it has.

`kill` and `crash_at` drop what is not on disk, as SIGKILL would, and `restart` opens the same database again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag
from tidemill.testing.chaos import Chaos
from tidemill.testing.faults import Fault
from tidemill.testing.findings import Findings
from tidemill.testing.world import HarnessError

__all__ = ["Harness", "HarnessError", "MakeHarness"]

#: Longest real time that a test waits for the stages, in seconds.
_PATIENCE = 30.0


class Harness(Findings):
    """A project that runs between `async with` and its end.

    Either `dags` (functions decorated with `@dag`, or loaded ones), with `triggers` as the text of a definition
    file, or `root`, the folder of a whole project. `settings` are those of the service
    (`Harness(dags=[...], max_running_tasks=2)`). `seed` decides ids and what chance decides: the same seed and the same
    story have the same history, byte for byte. `chaos` and `faults` strike the process and what comes to it; without
    `sources` no schedule ticks and no folder is watched. State is kept in a file that ends with the harness, or in the
    PostgreSQL database at `database_url`, which nobody else may use meanwhile.
    """

    def __init__(
        self,
        *,
        dags: Iterable[DagDefinition | Dag] = (),
        root: Path | None = None,
        triggers: str = "",
        database_url: str | None = None,
        seed: int = 0,
        chaos: Chaos | None = None,
        faults: Iterable[Fault] = (),
        sources: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(
            dags=dags,
            root=root,
            triggers=triggers,
            database_url=database_url,
            seed=seed,
            chaos=chaos,
            faults=faults,
            sources=sources,
            **settings,
        )

    @property
    def _patience(self) -> float:
        return _PATIENCE


#: What the fixture `tidemill_harness` gives: takes what `Harness` takes.
MakeHarness = Callable[..., Harness]
