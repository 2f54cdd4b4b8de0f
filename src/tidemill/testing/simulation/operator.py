"""Whoever steers: starts, cancels and retries runs, and sets the machine's clock."""

from __future__ import annotations

from tidemill.events.lifecycle import dag_requested, retry_requested
from tidemill.storage.contract import Append
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.disk import Disk
from tidemill.testing.simulation.door import Door
from tidemill.testing.simulation.observed import Answer, Observed
from tidemill.testing.simulation.scenario import Scenario

__all__ = ["Operator"]


class Operator:
    """One coroutine for each order."""

    def __init__(
        self, chance: Chance, scenario: Scenario, door: Door, observed: Observed, *, disk: Disk
    ) -> None:
        self.observed = observed
        self.loop, self.clock = door.loop, door.clock
        self.disk, self.faults = disk, disk.faults
        self._chance, self._scenario, self._door = chance, scenario, door

    async def order(self, number: int, at: float, what: str) -> None:
        """Give one order; over when it was taken."""
        draw = self._chance.stream("operator", number)
        await self.clock.sleep(at)
        is_open = "" if what == "retry" else "WHERE ended_at IS NULL"
        runs = self.disk.rows(f"SELECT run_id, dag FROM runs {is_open} ORDER BY number")  # noqa: S608
        if what != "start" and not runs:
            return
        run, dag = draw.choice(runs) if what != "start" else ("", draw.choice(self._scenario.dags).name)
        if what == "cancel":
            await self._door.ask(lambda store: store.runs.request(run, "cancel", "operator"))
            self.observed.cancels.append((run, self.loop.now_us))
            return
        if what == "start":
            event = dag_requested(dag=dag, parameters={"number": number}, id=f"order{number}", by="operator")
        else:
            event = retry_requested(
                dag=dag, run_id=run, parameters={"number": number}, id=f"order{number}", by="operator"
            )
        self.observed.sent[event.source, event.id] = event.type
        await self._door.ask(lambda store: store.log.append(Append(events=[event])))
        self.observed.answers.append(Answer(event.source, event.id, self.loop.now_us))

    async def set_clock(self) -> None:
        """Set the wall clock forward and back until faults cease."""
        draw = self._chance.stream("jumps")
        while not self.faults.is_over:
            await self.clock.sleep(draw.uniform(5, 30))
            if self.faults.is_over:
                return
            seconds = draw.uniform(-1, 1) * self.faults.weather.jump_seconds
            self.clock.jump(seconds)
            self.observed.jumps.append((self.loop.now_us, seconds))
