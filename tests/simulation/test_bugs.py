"""The simulation finds what it is for: every planted bug, and says of it what is wrong."""

from __future__ import annotations

import pytest
from tests.simulation.bugs import BUGS, planted

from tidemill.testing.simulation.run import simulate

#: Seeds within which a bug must be found.
ENOUGH = 60


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_found(name: str) -> None:
    said: list[str] = []

    for seed in range(ENOUGH):
        with planted(name):
            said += simulate(seed).violations
        if any(part in violation for violation in said for part in BUGS[name].seen_as):
            return
    pytest.fail(f"{name} was not found in {ENOUGH} seeds; said was {said[:5]}")


def test_there_are_enough_bugs_and_they_leave_no_trace() -> None:
    before = simulate(5)

    for name in BUGS:
        with planted(name):
            pass

    assert len(BUGS) >= 15
    assert simulate(5).trace == before.trace
    assert not before.violations
