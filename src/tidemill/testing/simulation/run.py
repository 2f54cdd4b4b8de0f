"""One simulation from its seed to its verdict."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.evidence import Evidence, read_evidence
from tidemill.testing.simulation.faults import Faults, Weather, draw_weather
from tidemill.testing.simulation.loop import NothingLeft, SimulatedLoop
from tidemill.testing.simulation.model import judge
from tidemill.testing.simulation.process import Process
from tidemill.testing.simulation.scenario import Scenario, draw_scenario
from tidemill.testing.simulation.substitutes import substituted
from tidemill.testing.simulation.world import World

__all__ = ["Report", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one seed."""

    seed: int
    #: Broken promises, each with its facts; none: all is well.
    violations: Sequence[str]
    #: The same for the same seed, on every machine.
    trace: str
    steps: int
    #: Simulated seconds.
    seconds: float
    evidence: Evidence
    scenario: Scenario
    weather: Weather

    @property
    def command(self) -> str:
        """What shows the same again."""
        return f"python -m tidemill.testing.simulation --seed {self.seed}"


def simulate(seed: int, *, weather: Weather | None = None, scenario: Scenario | None = None) -> Report:
    """Run the service of `seed` through its faults until nothing is left to do, and judge what was seen."""
    chance = Chance(seed)
    weather = weather or draw_weather(chance)
    scenario = scenario or draw_scenario(chance)
    loop = SimulatedLoop(chance.stream("order"), disorder=weather.disorder)
    was_disabled = logging.root.manager.disable
    logging.disable(
        logging.CRITICAL
    )  # not by hand: loggers remember what they were told, and this makes them forget
    try:
        with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
            world = World(chance, scenario, Faults(chance, weather), loop=loop, folder=Path(folder))
            with substituted(chance, world.clock):
                return _simulate(seed, loop, world, scenario=scenario, weather=weather)
    finally:
        logging.disable(was_disabled)
        loop.close()


def _simulate(
    seed: int, loop: SimulatedLoop, world: World, *, scenario: Scenario, weather: Weather
) -> Report:
    # The world is a process, too: one that nobody kills.
    around = Process(0)
    main = loop.create_task(world.run(), context=around.context)
    try:
        loop.run_until_complete(main)
    except NothingLeft as why:
        world.observed.stuck.append(str(why))
    try:
        world.observed.stage_errors += loop.errors
        evidence = read_evidence(world.disk, world.observed)
        trace, steps, seconds = loop.trace, loop.steps, loop.time()
    finally:
        for process in (*world.processes, around):
            loop.bury(process)
        world.disk.close()
    return Report(
        seed=seed,
        violations=judge(scenario, weather, evidence),
        trace=trace,
        steps=steps,
        seconds=seconds,
        evidence=evidence,
        scenario=scenario,
        weather=weather,
    )
