"""The whole service under faults, 500 times over: no promise is broken.

A failure names its seed and the command that shows the same again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from tidemill.testing.simulation.command import main
from tidemill.testing.simulation.run import simulate

SEEDS = 500
CHUNK = 20
#: Few, but with crashes, jumps of the clock and outages among them.
SAME = range(3, 11)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_service_keeps_its_promises_under_faults(first: int) -> None:
    reports = [simulate(seed) for seed in range(first, first + CHUNK)]

    broken = [f"{report.command}: {report.violations[:5]}" for report in reports if report.violations]
    assert not broken, "\n".join(broken)
    assert all(report.evidence.runs for report in reports)


def test_seeds_bring_every_kind_of_fault_and_outcome() -> None:
    reports = [simulate(seed) for seed in range(60)]

    ends = {how for report in reports for _, _, how in report.evidence.observed.lives}
    fates = {receipt.fate for report in reports for receipt in report.evidence.observed.receipts}
    kinds = {found[0] for report in reports for found in report.evidence.dispositions.values()}
    states = {run.state for report in reports for run in report.evidence.runs.values()}
    assert ends == {"crash", "stop"}
    assert fates == {"accepted", "unanswered", "failed", "refused"}
    assert states == {"succeeded", "failed", "cancelled"}
    assert {"run", "duplicate_of", "debounced_into", "batched_into", "joined_into", "expired"} <= kinds
    assert {"dropped_by_limit", "coalesced_into", "cancelled", "dead_lettered"} <= kinds
    assert any(report.evidence.observed.jumps for report in reports)


def test_same_seed_has_the_same_trace_in_every_process() -> None:
    code = (
        "from tidemill.testing.simulation.run import simulate\n"
        f"print(*[simulate(seed).trace for seed in range({SAME.start}, {SAME.stop})])"
    )

    here = [simulate(seed).trace for seed in SAME]
    there = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for hash_seed in ("1", "2")
    ]

    assert there == [here, here]
    assert len(set(here)) == len(here)


def test_loggers_speak_again_after_a_simulation(caplog: pytest.LogCaptureFixture) -> None:
    names = ("tidemill.engine.decisions", "tidemill.engine.engine", "tidemill.sinks.attempt")
    reports = [simulate(seed) for seed in SAME]

    for name in names:
        for level in (logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "still here")

    spoke = [(record.name, record.levelno) for record in caplog.records if record.message == "still here"]
    assert spoke == [(name, level) for name in names for level in (logging.WARNING, logging.ERROR)]
    assert all(report.evidence.runs for report in reports)


def test_command_shows_one_seed_and_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--seed", "7"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "weather: " in printed
    assert f"trace {simulate(7).trace}" in printed


def test_command_runs_many_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--first", "40", "--seeds", "4", "--jobs", "2"])

    assert code == 0
    assert capsys.readouterr().out.startswith("4 seeds in ")
