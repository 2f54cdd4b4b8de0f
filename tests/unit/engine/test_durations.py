"""What the engine learns of durations, keeps, and makes of them: the order under contention."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tidemill import dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.engine.durations import Learner
from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler import Scheduler
from tidemill.runs import records as r
from tidemill.runs.attempts import Attempt
from tidemill.runs.durations import WIDTH, TaskModel
from tidemill.runs.fold import apply
from tidemill.runs.state import RunState
from tidemill.storage.contract import NewRun, Store, TaskDuration
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock
from tidemill.testing.harness import MakeHarness

S = 1_000_000
NOW = ManualClock().now_us()


@task
async def root() -> int:
    return 1


@task
async def short(n: int) -> int:
    return n


@task
async def long(n: int) -> int:
    return n


@task(size_by="rows")
async def load(day: str, rows: Any) -> int:
    return 1


@dag(dag_id="work")
def work() -> Any:
    first = root()
    # The short one is written, and ready, before the long one.
    return [short(first), long(first)]


@dag(dag_id="mapping")
def mapping() -> Any:
    return short.expand(n=root())


@dag(dag_id="sized")
def sized() -> Any:
    return load("monday", [1, 2, 3])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "t.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def learner(store: Store, clock: ManualClock) -> Learner:
    return Learner(store, clock=clock)


def built(definition: Any) -> Dag:
    made = build(definition)
    assert isinstance(made, Dag)
    return made


def live_of(made: Dag, learner: Learner, *, at: int, run_id: str = "r") -> LiveRun:
    run = NewRun(
        run_id=run_id,
        dag=made.dag_id,
        version=made.version,
        trigger="manual",
        position=1,
        event_source="/",
        event_id="1",
        parameters=b"{}",
        queued_at=at,
        correlation_id="c",
        hop_count=0,
    )
    live = LiveRun(run, made, RunState(run_id, made))
    live.state.started_at = at
    live.watched = learner.watch(made.dag_id, at)
    return live


def ran(learner: Learner, live: LiveRun, task_id: str, *, seconds: float, at: int = NOW) -> None:
    """An attempt as the engine records it."""
    learner.take(live, at, [r.TaskStarted(task_id, 1)])
    learner.take(live, at + round(seconds * S), [r.TaskSucceeded(task_id, 1, b"1")])
    learner.committed()


def seconds_of(learner: Learner, dag_id: str, task_id: str) -> float | None:
    model = learner.models(dag_id).get(task_id)
    return None if model is None else model.seconds()


# ── learning ──


def test_attempts_that_succeed_are_learned_once_they_are_on_disk(learner: Learner) -> None:
    live = live_of(built(work), learner, at=0)

    learner.take(live, 0, [r.TaskStarted("root", 1)])
    learner.take(live, 4 * S, [r.TaskSucceeded("root", 1, b"1")])
    before = seconds_of(learner, "work", "root")
    learner.committed()

    assert before is None
    assert seconds_of(learner, "work", "root") == pytest.approx(4, rel=0.06)


def test_flood_of_attempts_is_learned_from_in_part_and_the_next_second_again(learner: Learner) -> None:
    live = live_of(built(work), learner, at=0)
    names = [f"t{number}" for number in range(3000)]

    learner.take(live, 0, [r.TaskStarted(name, 1) for name in (*names, "root")])
    learner.take(live, S // 2, [r.TaskSucceeded(name, 1, b"1") for name in names])
    learner.committed()
    flooded = len(learner.models("work"))
    learner.take(live, 4 * S, [r.TaskSucceeded("root", 1, b"1")])
    learner.committed()

    assert 1000 <= flooded < 3000
    assert seconds_of(learner, "work", "root") == pytest.approx(4, rel=0.06)


def test_what_a_lost_shard_takes_along_is_not_learned(learner: Learner) -> None:
    live = live_of(built(work), learner, at=0)
    learner.take(live, 0, [r.TaskStarted("root", 1)])
    learner.take(live, 4 * S, [r.TaskSucceeded("root", 1, b"1")])

    live.dropped = True
    learner.committed()

    assert seconds_of(learner, "work", "root") is None


def test_failures_and_results_carried_over_tell_nothing(learner: Learner) -> None:
    live = live_of(built(work), learner, at=0)
    failure = r.Failure("ValueError", "no")

    learner.take(live, 0, [r.TaskStarted("root", 1)])
    learner.take(live, S, [r.TaskFailed("root", 1, failure), r.TaskSucceeded("short", 0, b"1")])
    learner.committed()

    assert learner.models("work") == {}


def test_the_attempt_that_succeeded_counts_and_not_what_came_before(learner: Learner) -> None:
    live = live_of(built(work), learner, at=0)
    failure = r.Failure("ValueError", "no")

    learner.take(live, 0, [r.TaskStarted("root", 1)])
    learner.take(live, 50 * S, [r.TaskRetrying("root", 1, failure, 60 * S)])
    learner.take(live, 60 * S, [r.TaskStarted("root", 2)])
    learner.take(live, 62 * S, [r.TaskSucceeded("root", 2, b"1")])
    learner.committed()

    assert seconds_of(learner, "work", "root") == pytest.approx(2, rel=0.06)


def test_task_runs_of_a_map_are_one_task_and_their_number_is_learned(learner: Learner) -> None:
    live = live_of(built(work), learner, at=0)

    learner.take(live, 0, [r.TaskExpanded("short", 200)])
    for place in range(200):
        ran(learner, live, f"short[{place}]", seconds=3)

    assert seconds_of(learner, "work", "short") == pytest.approx(3, rel=0.06)
    assert seconds_of(learner, "work", "short" + WIDTH) == pytest.approx(200, rel=0.06)
    assert learner.models("work")["short"].whole.count == 64


def test_the_input_s_size_is_learned_where_the_task_says_what_it_is(learner: Learner) -> None:
    made = built(sized)
    live = live_of(made, learner, at=0)
    node = made.tasks[0]

    for rows in ([0] * 10, [0] * 10, [0] * 10, [0] * 1000, [0] * 1000, [0] * 1000):
        learner.measure(live, Attempt("r", made, node, 1, ("monday", rows), {}))
        ran(learner, live, "load", seconds=len(rows))

    model = learner.models("sized")["load"]
    assert model.seconds(size=10) == pytest.approx(10, rel=0.1)
    assert model.seconds(size=1000) == pytest.approx(1000, rel=0.1)


def test_only_so_many_runs_of_a_dag_are_watched_in_a_while(learner: Learner) -> None:
    watched = [learner.watch("work", 0) is not None for _ in range(60)]

    assert watched == [True] * 50 + [False] * 10
    assert learner.watch("other", 0) is not None
    assert learner.watch("work", 11 * S) is not None


async def test_the_engine_learns_from_its_runs(tidemill_harness: MakeHarness) -> None:
    holds: list[Any] = []

    @task
    async def slow() -> int:
        await holds[0].sleep(30)
        return 1

    @dag(dag_id="slow_work")
    def slow_work() -> Any:
        return slow()

    async with tidemill_harness(dags=[slow_work]) as harness:
        holds.append(harness.clock)
        for _ in range(3):
            await harness.start("slow_work")
        await harness.run_until_done()

        await harness._engine.learner.save()

        (row,) = await harness.store.durations.of("slow_work")
        assert row.task == "slow"
        assert TaskModel.decoded(row.body).seconds() == pytest.approx(30, rel=0.06)


# ── keeping ──


async def test_what_was_learned_is_there_after_a_restart(
    learner: Learner, store: Store, clock: ManualClock
) -> None:
    live = live_of(built(work), learner, at=0)
    ran(learner, live, "root", seconds=7)
    await learner.save()
    again = Learner(store, clock=clock)

    await again.load()

    assert seconds_of(again, "work", "root") == pytest.approx(7, rel=0.06)


async def test_what_cannot_be_read_is_learned_anew(learner: Learner, store: Store) -> None:
    await store.durations.save([TaskDuration("work", "root", 5, b"[99]")])

    await learner.load()
    ran(learner, live_of(built(work), learner, at=0), "root", seconds=2)

    assert seconds_of(learner, "work", "root") == pytest.approx(2, rel=0.06)


async def test_saving_writes_what_is_new_only_and_keeps_it_when_the_store_fails(
    learner: Learner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = live_of(built(work), learner, at=0)
    ran(learner, live, "root", seconds=2)
    written: list[list[str]] = []
    save = store.durations.save

    async def failing(rows: Any, **_: Any) -> None:
        raise OSError("no disk")

    async def counting(rows: Any, **given: Any) -> None:
        written.append([row.task for row in rows])
        await save(rows, **given)

    monkeypatch.setattr(store.durations, "save", failing)
    with pytest.raises(OSError, match="no disk"):
        await learner.save()
    monkeypatch.setattr(store.durations, "save", counting)
    await learner.save()
    await learner.save()
    ran(learner, live, "short", seconds=2)
    await learner.save()

    assert written == [["root"], ["short"]]


async def test_the_stage_writes_every_ten_seconds(
    learner: Learner, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, save = asyncio.Event(), store.durations.save

    async def telling(rows: Any, **given: Any) -> None:
        await save(rows, **given)
        written.set()

    monkeypatch.setattr(store.durations, "save", telling)
    stage = asyncio.ensure_future(learner.run())
    ran(learner, live_of(built(work), learner, at=0), "root", seconds=2, at=clock.now_us())
    await asyncio.sleep(0)

    clock.advance(9)
    await asyncio.sleep(0)
    too_early = written.is_set()
    clock.advance(1)
    async with asyncio.timeout(5):
        await written.wait()

    assert not too_early
    assert [row.task for row in await store.durations.of("work")] == ["root"]
    stage.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage


# ── order ──


def learned(learner: Learner, made: Dag, **seconds: float) -> None:
    live = live_of(made, learner, at=0)
    for name, one in seconds.items():
        ran(learner, live, name, seconds=one)


def test_the_longer_way_to_the_end_goes_first_within_a_run(learner: Learner) -> None:
    made = built(work)
    learned(learner, made, root=1, short=2, long=60)

    live = live_of(made, learner, at=0)

    ranks = {name: learner.rank(live, made.index[name]) for name in ("root", "short", "long")}
    assert ranks["root"] > ranks["long"] > ranks["short"]
    assert learner.is_worth


def test_an_older_run_is_overtaken_by_those_only_that_began_within_its_own_way(
    learner: Learner, clock: ManualClock
) -> None:
    made = built(work)
    learned(learner, made, root=1, short=2, long=60)
    now = clock.now_us()
    old = live_of(made, learner, at=now)

    soon, late = (live_of(made, learner, at=now + s * S, run_id=str(s)) for s in (5, 100))

    last_of_old = learner.rank(old, made.index["short"])
    assert learner.rank(soon, made.index["long"]) > last_of_old
    assert learner.rank(late, made.index["long"]) < last_of_old


def test_first_come_first_served_while_nothing_is_known(learner: Learner, clock: ManualClock) -> None:
    made = built(work)
    one, other = (live_of(made, learner, at=0, run_id=name) for name in "ab")

    first = learner.rank(other, 2)
    clock.jump(1)
    second = learner.rank(one, 1)

    assert first > second
    assert not learner.is_worth


def test_what_is_over_in_a_moment_is_not_worth_an_order(learner: Learner) -> None:
    made = built(work)
    learned(learner, made, root=0.001, short=0.001, long=0.002)

    assert learner.ranks(made) is None
    assert not learner.is_worth


def test_ranks_follow_what_is_learned_after_a_while(learner: Learner, clock: ManualClock) -> None:
    made = built(work)
    learned(learner, made, root=1, short=2, long=60)
    before = learner.ranks(made)
    for _ in range(2):
        learned(learner, made, short=600)

    at_once = learner.ranks(made)
    clock.jump(6)
    after = learner.ranks(made)

    assert before is at_once
    assert after is not None
    assert before is not None
    assert after[0] > before[0] + 100


def test_task_runs_of_a_map_have_the_rank_of_their_task(learner: Learner) -> None:
    made = built(mapping)
    learned(learner, made, root=1, short=2)
    live = live_of(made, learner, at=0)
    at = 0
    for record in (
        r.RunStarted(),
        r.TaskStarted("root", 1),
        r.TaskSucceeded("root", 1, b"[1,2,3]"),
        r.TaskExpanded("short", 3),
    ):
        apply(live.state, record, at)

    assert [learner.rank(live, index) for index in (2, 3, 4)] == [learner.rank(live, 1)] * 3


def test_the_scheduler_takes_by_rank_when_there_are_too_few_slots(learner: Learner) -> None:
    made = built(work)
    learned(learner, made, root=1, short=2, long=60)
    scheduler = Scheduler({"loop": 1, "thread": 1})
    scheduler.rank = learner.rank
    live = live_of(made, learner, at=0)
    scheduler.tick(0)
    scheduler.enter(live)

    for name in ("short", "long"):
        scheduler.queue(live, made.index[name])
    taken = scheduler.next()

    assert taken is not None
    assert made.tasks[taken[4]].task_id == "long"


async def test_the_second_run_goes_by_what_the_first_one_taught(tidemill_harness: MakeHarness) -> None:
    begun: list[str] = []
    holds: list[Any] = []

    @task
    async def nap(name: str, seconds: float, *above: Any) -> int:
        begun.append(name)
        await holds[0].sleep(seconds)
        return 1

    @dag(dag_id="naps")
    def naps() -> Any:
        first = nap.override(task_id="first")("first", 1.0)
        # Both are ready at once, the short one is written first.
        short = nap.override(task_id="brief")("brief", 1.0, first)
        long = nap.override(task_id="lengthy")("lengthy", 20.0, first)
        return [short, long]

    async with tidemill_harness(dags=[naps], max_running_tasks=1) as harness:
        holds.append(harness.clock)
        for _ in range(2):
            await harness.start("naps")
            await harness.run_until_done()

    assert begun == ["first", "brief", "lengthy", "first", "lengthy", "brief"]


def test_a_learner_forgets_the_least_recent_beyond_its_bound(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.engine.durations._MODELS", 3)

    for number in range(5):
        learner.learn("d", f"t{number}", S, at=number)

    assert list(learner.models("d")) == ["t2", "t3", "t4"]


def test_a_dag_of_another_version_has_ranks_of_its_own(learner: Learner) -> None:
    made = built(work)
    learned(learner, made, root=1, short=2, long=60)
    alone = replace(made.tasks[0], downstream=())
    other = replace(made, version="other", tasks=(alone,), index={"root": 0})

    assert len(learner.ranks(made) or ()) == 3
    assert len(learner.ranks(other) or ()) == 1
