"""`python -m tidemill.testing.simulation`: one seed with its facts, or many seeds with those that found something."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context

from tidemill.testing.simulation.run import Report, simulate

__all__ = ["main"]

#: Seeds that a worker takes at once.
_CHUNK = 10
#: Violations shown of one seed.
_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when no promise was broken, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tidemill.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone, twice, and show what it is")
    parser.add_argument("--seeds", type=int, default=500, metavar="N", help="run N seeds (500)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (0)")
    parser.add_argument("--seconds", type=float, metavar="S", help="go on with further seeds for S seconds")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes at once"
    )
    given = parser.parse_args(arguments)
    return _one(given.seed) if given.seed is not None else _many(given)


def _one(seed: int) -> int:
    report, again = simulate(seed), simulate(seed)
    _say(f"weather: {report.weather}")
    _say(f"settings: {dict(report.scenario.settings)}")
    for spec in (*report.scenario.dags, *report.scenario.triggers, *report.scenario.subscriptions):
        _say(f"{spec}")
    _say(_facts(report))
    for violation in report.violations:
        _say(f"BROKEN {violation}")
    if report.trace != again.trace:
        _say(f"BROKEN the same seed has two traces: {report.trace} and {again.trace}")
        return 1
    return 1 if report.violations else 0


def _many(given: argparse.Namespace) -> int:
    begun, seen, broken = time.monotonic(), 0, 0
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for seeds in _batches(given, begun):
            for seed, violations, command in pool.map(_verdict, seeds, chunksize=_CHUNK):
                seen += 1
                if violations:
                    broken += 1
                    _say(f"seed {seed}: {command}")
                    for violation in violations[:_SHOWN]:
                        _say(f"  BROKEN {violation}")
    seconds = time.monotonic() - begun
    _say(f"{seen} seeds in {seconds:.1f} s, {broken} with broken promises")
    return 1 if broken else 0


def _batches(given: argparse.Namespace, begun: float) -> Iterator[range]:
    if given.seconds is None:
        yield range(given.first, given.first + given.seeds)
        return
    size = _CHUNK * given.jobs * 4
    for first in count(given.first, size):
        if time.monotonic() - begun >= given.seconds:
            return
        yield range(first, first + size)


def _verdict(seed: int) -> tuple[int, list[str], str]:
    report = simulate(seed)
    return seed, list(report.violations), report.command


def _facts(report: Report) -> str:
    evidence = report.evidence
    observed = evidence.observed
    return (
        f"seed {report.seed}: {report.seconds:.0f} simulated seconds in {report.steps} steps, "
        f"{len(observed.lives) + 1} processes, {len(evidence.commits)} commits, {len(evidence.events)} events, "
        f"{len(evidence.runs)} runs, {len(observed.executions)} attempts, {len(observed.receipts)} deliveries; "
        f"trace {report.trace}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
