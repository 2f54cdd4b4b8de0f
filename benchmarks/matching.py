"""M1, M2: events matched against many rules, and what it takes to make the index, against parsing the JSON alone.

The events are CloudEvents of about 330 bytes in the JSON format; a match begins with their bytes. The plain mix asks
for types, ids, prefixes, suffixes, address blocks and ranges; the adversarial one for what automata grow on:
anything-but first, overlapping ranges, inner texts. Time is the process's own, the best of several rounds, as other
processes may run beside it.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks.report import report
from tidemill.events import json_format
from tidemill.patterns import Index, compile_pattern

__all__ = ["m1", "m2"]

COUNTS = (100, 10_000, 100_000)
EVENTS = 4_000
ROUNDS = 5
VALUES = 100_000


class Figures(NamedTuple):
    """What one index came to."""

    events_a_second: float
    parses_a_second: float
    compile_seconds: float
    index_seconds: float
    megabytes: float
    matches_an_event: float
    residual: int


async def m1() -> None:
    """Events a second by number of rules, plain and adversarial."""
    for mix in _MIXES:
        for count in COUNTS:
            found = await _measure(mix, count)
            report(
                "M1",
                found.events_a_second,
                "events/s",
                found.parses_a_second,
                mix=mix,
                rules=count,
                matches_an_event=round(found.matches_an_event, 3),
                residual=found.residual,
                floor_is="orjson.loads of the same bytes",
            )


async def m2() -> None:
    """Seconds to compile 100,000 rules and index them, and the memory that they keep."""
    for mix in _MIXES:
        found = await _measure(mix, COUNTS[-1])
        report(
            "M2",
            found.compile_seconds + found.index_seconds,
            "s",
            None,
            mix=mix,
            rules=COUNTS[-1],
            compile_seconds=round(found.compile_seconds, 2),
            index_seconds=round(found.index_seconds, 2),
            megabytes=round(found.megabytes),
        )


async def _measure(mix: str, count: int) -> Figures:
    """In a process of its own, so that memory is what this index takes."""
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, _run, mix, count)


def _run(mix: str, count: int) -> Figures:
    chance = random.Random(1)
    written = [_MIXES[mix](chance, number) for number in range(count)]
    bodies = [_event(chance, number) for number in range(EVENTS)]
    gc.collect()
    memory, begun = _resident(), time.process_time()
    rules = {str(number): compile_pattern(pattern) for number, pattern in enumerate(written)}
    compiled = time.process_time()
    index = Index(rules)
    indexed = time.process_time()
    gc.collect()
    megabytes = _resident() - memory
    matches = sum(len(index.match(json_format.decode(body))) for body in bodies)
    matching = _best(lambda: [index.match(json_format.decode(body)) for body in bodies])
    parsing = _best(lambda: [orjson.loads(body) for body in bodies])
    return Figures(
        EVENTS / matching,
        EVENTS / parsing,
        compiled - begun,
        indexed - compiled,
        megabytes,
        matches / EVENTS,
        index.residual,
    )


def _best(run: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        run()
        best = min(best, time.process_time() - begun)
    return best


def _resident() -> float:
    """Megabytes of memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _event(chance: random.Random, number: int) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": f"/shop/{chance.choice(['eu', 'us', 'ap'])}/{chance.randrange(50)}",
            "type": f"com.example.t{chance.randrange(1000)}.created",
            "subject": f"order-{chance.randrange(VALUES)}",
            "time": "2026-11-24T12:00:00Z",
            "data": {
                "customer": {
                    "id": f"c-{chance.randrange(VALUES)}",
                    "tier": chance.choice(["gold", "silver", "none"]),
                    "country": chance.choice(["DE", "FR", "US", "JP"]),
                },
                "amount": round(chance.random() * 10_000, 2),
                "currency": "EUR",
                "ip": f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
                "file": f"in/{chance.choice(['users', 'orders'])}-{chance.randrange(VALUES)}.csv",
                "sku": f"sku-{chance.randrange(VALUES)}",
                "tags": ["new", f"tag{chance.randrange(1000)}"],
            },
        }
    )


def _plain(chance: random.Random, number: int) -> dict[str, Any]:
    customer = f"c-{chance.randrange(VALUES)}"
    match number % 6:
        case 0:
            kind = f"com.example.t{chance.randrange(1000)}.created"
            return {"type": [kind], "data": {"customer": {"id": [customer]}}}
        case 1:
            low = chance.randrange(10_000)
            amount = [{"numeric": [">=", low, "<", low + 3000]}]
            return {"data": {"sku": [f"sku-{chance.randrange(VALUES)}"], "amount": amount}}
        case 2:
            shop = [{"prefix": f"/shop/{chance.choice(['eu', 'us', 'ap'])}/"}]
            return {"source": shop, "data": {"customer": {"id": [customer, f"c-{chance.randrange(VALUES)}"]}}}
        case 3:
            file = [{"suffix": f"-{chance.randrange(VALUES)}.csv"}]
            return {"data": {"file": file, "customer": {"country": ["DE", "FR"]}}}
        case 4:
            order = f"order-{chance.randrange(VALUES)}"
            return {
                "type": [{"prefix": "com.example."}],
                "subject": [order],
                "data": {"customer": {"tier": ["gold"]}},
            }
        case _:
            block = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(16) * 16}/28"
            return {"data": {"ip": [{"cidr": block}], "customer": {"tier": ["gold", "silver"]}}}


def _adversarial(chance: random.Random, number: int) -> dict[str, Any]:
    match number % 3:
        case 0:
            tier = [{"anything-but": {"prefix": "x"}}]
            customer = {"tier": tier, "id": [f"c-{chance.randrange(VALUES)}"]}
            return {"data": {"currency": [{"anything-but": ["USD", "GBP"]}], "customer": customer}}
        case 1:
            low = chance.random() * 10_000
            amount = [{"numeric": [">=", low, "<", low + chance.random() * 5000]}]
            return {"data": {"amount": amount, "sku": [{"prefix": f"sku-{chance.randrange(VALUES)}"}]}}
        case _:
            file = [{"wildcard": f"*s-{chance.randrange(VALUES)}.*"}]
            return {"data": {"currency": [{"anything-but": "USD"}], "file": file}}


_MIXES: dict[str, Callable[[random.Random, int], dict[str, Any]]] = {
    "plain": _plain,
    "adversarial": _adversarial,
}
