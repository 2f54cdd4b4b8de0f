"""What must hold, whatever happened: written from the promises, and blind to everything inside the service.

It reads what the outside saw and the rows on the disk when all was over (`Evidence`), and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.testing.simulation.evidence import Evidence
from tidemill.testing.simulation.faults import Weather
from tidemill.testing.simulation.model import (
    admission,
    attempts,
    deliveries,
    graphs,
    histories,
    log,
    routing,
    waits,
)
from tidemill.testing.simulation.scenario import Scenario

__all__ = ["judge"]


def judge(scenario: Scenario, weather: Weather, evidence: Evidence) -> list[str]:
    """Every broken promise."""
    return list(_broken(scenario, weather, evidence))


def _broken(scenario: Scenario, weather: Weather, evidence: Evidence) -> Iterator[str]:
    for what in evidence.observed.stage_errors:
        yield f"a stage ended: {what}"
    for what in evidence.observed.stuck:
        yield f"stuck: {what}"
    yield from log.broken(scenario, evidence)
    yield from routing.broken(scenario, evidence)
    yield from admission.broken(scenario, evidence)
    yield from histories.broken(scenario, evidence)
    yield from graphs.broken(scenario, evidence)
    yield from attempts.broken(scenario, weather, evidence)
    yield from waits.broken(scenario, evidence)
    yield from deliveries.broken(scenario, evidence)
