"""Run benchmarks by name, all of them without names."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.admission import a1
from benchmarks.critical_path import c1, c2
from benchmarks.engine import w1, w2, w2_mapped, w3
from benchmarks.executors import w7
from benchmarks.fleet import f1, f2
from benchmarks.keeping import r1
from benchmarks.matching import m1, m2
from benchmarks.parked import w8
from benchmarks.processes import w9
from benchmarks.scheduler import s1
from benchmarks.surroundings import w4, w5, w6

BENCHES = {
    "A1": a1,
    "C1": c1,
    "C2": c2,
    "W1": w1,
    "W2": w2,
    "W2.mapped": w2_mapped,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W6": w6,
    "W7": w7,
    "W8": w8,
    "W9": w9,
    "F1": f1,
    "F2": f2,
    "M1": m1,
    "M2": m2,
    "R1": r1,
    "S1": s1,
}

for name in sys.argv[1:] or BENCHES:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(BENCHES[name]())
