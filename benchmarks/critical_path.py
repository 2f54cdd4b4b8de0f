"""C1, C2: what the order of the longest way to the end gains over first come, first served.

C1 simulates (`tidemill.runs.what_if`): several DAGs of a family begin at once on 2 to 32 slots. Durations differ from
run to run by a fourth (log-normal); the order goes by what `TaskModel` has learned from a dozen earlier attempts, never
by the durations that come. `load` is the work over the slots, divided by the longest way: far below 1 nobody waits, far
above 1 every order keeps all slots busy to the end, and either way there is nothing to gain. Floor: what
the best imaginable order could gain over FIFO (it would end at the lower bound, which mostly cannot be reached).

C2 runs a few of them through the engine under virtual time, learning and all: the same project with and without ranks,
with the default aging of the scheduler (what became ready in an earlier period goes first, whatever its rank) and
with periods so long that ranks alone decide.

Nothing here was chosen by its result: all families, slots and numbers of DAGs are in every figure that says "all".
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.report import report
from benchmarks.shapes import GENERATED, PUBLISHED, Shape
from tidemill import dag, task
from tidemill.dag.critical_path import longest_paths
from tidemill.runs.durations import TaskModel
from tidemill.runs.what_if import Order, Work, lower_bound, simulate
from tidemill.testing import world
from tidemill.testing.harness import Harness

__all__ = ["c1", "c2"]

SLOTS = (2, 4, 8, 16, 32)
DAGS_AT_ONCE = (3, 6, 12)
SEEDS = 10
#: Spread of durations from run to run, of the logarithm.
NOISE = 0.25
#: Attempts that were learned from.
LEARNED = 12

Maker = Callable[[random.Random], Shape]
FAMILIES: dict[str, Sequence[Maker]] = {
    **{name: [make] for name, make in {**GENERATED, **PUBLISHED}.items()},
    "mixed generated": list(GENERATED.values()),
    "mixed published": list(PUBLISHED.values()),
}
#: Where the load is, from and to: coarse, then fine, so that nobody has to take our word for what counts as contention.
BANDS = {
    "idle": (0.0, 0.5),
    "balanced": (0.5, 2.0),
    "busy": (2.0, float("inf")),
    "0.5 to 2/3": (0.5, 2 / 3),
    "2/3 to 1": (2 / 3, 1.0),
    "1 to 1.5": (1.0, 1.5),
    "1.5 to 2": (1.5, 2.0),
    "2 to 3": (2.0, 3.0),
}


class Found(NamedTuple):
    """One family on so many slots, once."""

    load: float
    #: Makespan in rank order against FIFO's: 0.1 is a tenth shorter.
    gain: float
    most: float
    #: Makespans against the lower bound.
    rank: float
    fifo: float


async def c1() -> None:
    """Simulated: gain over FIFO by family, by load, and over all."""
    every: list[Found] = []
    for family in FAMILIES:
        found = [
            _compare(family, slots, dags, seed)
            for slots in SLOTS
            for dags in DAGS_AT_ONCE
            for seed in range(SEEDS)
        ]
        every += found
        _tell("C1", found, family=family)
    for band, (low, high) in BANDS.items():
        _tell("C1", [one for one in every if low <= one.load < high], family="all", load=band)
    _tell("C1", [one for one in every if one.most > 0.1], family="all", load="where a tenth could be gained")
    _tell("C1", every, family="all", load="all")


def _compare(family: str, slots: int, dags: int, seed: int) -> Found:
    chance = random.Random(f"{family} {slots} {dags} {seed}")
    works = [_work(chance.choice(FAMILIES[family])(chance), chance) for _ in range(dags)]
    fifo = simulate(works, slots, order=Order.FIFO).makespan
    rank = simulate(works, slots, order=Order.RANK).makespan
    bound = lower_bound(works, slots)
    longest = max(longest_paths(work.upstream, work.durations).length for work in works)
    load = sum(sum(work.durations) for work in works) / slots / longest
    return Found(load, 1 - rank / fifo, 1 - bound / fifo, rank / bound, fifo / bound)


def _work(shape: Shape, chance: random.Random) -> Work:
    means = [seconds * chance.lognormvariate(0, 0.3) for seconds in shape.seconds]
    return Work(
        upstream=shape.upstream,
        durations=[_noisy(mean, chance) for mean in means],
        expected=[_learned(mean, chance) for mean in means],
    )


def _noisy(mean: float, chance: random.Random) -> float:
    return mean * chance.lognormvariate(0, NOISE)


def _learned(mean: float, chance: random.Random) -> float:
    model = TaskModel()
    for _ in range(LEARNED):
        model.add(round(_noisy(mean, chance) * 1e6))
    return model.seconds() or mean


def _tell(bench: str, found: Sequence[Found], **config: Any) -> None:
    if not found:
        return
    report(
        bench,
        100 * statistics.mean(one.gain for one in found),
        "% shorter than FIFO",
        100 * statistics.mean(one.most for one in found),
        cases=len(found),
        worse_than_fifo=sum(one.gain < -1e-9 for one in found),
        rank_over_bound=round(statistics.mean(one.rank for one in found), 3),
        rank_over_bound_most=round(max(one.rank for one in found), 3),
        fifo_over_bound=round(statistics.mean(one.fifo for one in found), 3),
        floor_is="what the best imaginable order could gain",
        **config,
    )


# ── through the engine ──


async def c2() -> None:
    """Through the engine under virtual time: the third round of runs, with ranks and without."""
    world._GRACE_SECONDS = 0.001  # nothing here takes real time
    for aging in (300.0, 86_400.0):
        gains: list[Found] = []
        for family in ("layered", "fork-join", "random", "montage", "epigenomics", "sipht"):
            for slots in (4, 8, 16):
                gains.append(await _compare_engines(family, slots, aging))
                load = round(gains[-1].load, 2)
                _tell("C2", gains[-1:], family=family, slots=slots, load=load, aging_seconds=aging)
        _tell("C2", gains, family="all", load="all", aging_seconds=aging)


async def _compare_engines(family: str, slots: int, aging: float) -> Found:
    shapes = [FAMILIES[family][0](random.Random(f"{family} {slots} {n}")) for n in range(4)]
    fifo = await _makespan(shapes, slots, aging=aging, ranked=False)
    rank = await _makespan(shapes, slots, aging=aging, ranked=True)
    works = [Work(upstream=one.upstream, durations=one.seconds) for one in shapes]
    bound = lower_bound(works, slots)
    longest = max(longest_paths(one.upstream, one.seconds).length for one in shapes)
    load = sum(sum(one.seconds) for one in shapes) / slots / longest
    return Found(load, 1 - rank / fifo, 1 - bound / fifo, rank / bound, fifo / bound)


async def _makespan(shapes: Sequence[Shape], slots: int, *, aging: float, ranked: bool) -> float:
    """Seconds of virtual time from the first start to the last end of runs of these DAGs that begin at once."""
    holder: list[Harness] = []
    definitions = [_definition(f"d{number}", shape, holder) for number, shape in enumerate(shapes)]
    pools = {"bench": {"slots": slots, "sharing": "none"}}
    async with Harness(dags=definitions, pools=pools, priority_aging_seconds=aging) as harness:
        holder.append(harness)
        if not ranked:
            harness._engine.learner.watch = lambda *_: None  # type: ignore[method-assign]
        for _ in range(3):
            runs = [await harness.start(f"d{number}") for number in range(len(shapes))]
            await harness.run_until_done()
        summaries = [(await harness.run(run)).summary for run in runs]
    begun = min(one.started_at or 0 for one in summaries)
    return (max(one.ended_at or 0 for one in summaries) - begun) / 1e6


def _definition(dag_id: str, shape: Shape, holder: Sequence[Harness]) -> Any:
    @task(pool="bench")
    async def work(seconds: float, above: Iterable[Any]) -> int:
        await holder[0].clock.sleep(seconds)
        return 0

    @dag(dag_id=dag_id)
    def made() -> None:
        outputs: list[Any] = []
        for number, (seconds, above) in enumerate(zip(shape.seconds, shape.upstream, strict=True)):
            outputs.append(work.override(task_id=f"t{number}")(seconds, [outputs[one] for one in above]))

    return made
