"""DAGs inside DAGs, what undoes what was done, and tasks that others ask for while they run, through the engine."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import Context, DoNotRetry, branch, completion_of, dag, spawned, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.testing.faults import CrashAt
from tidemill.testing.harness import Harness, HarnessError, MakeHarness

DONE: list[str] = []


@pytest.fixture(autouse=True)
def _done() -> None:
    DONE.clear()


@task
async def show(value: Any = None) -> Any:
    return value


@task
async def fail(value: Any = None) -> None:
    raise DoNotRetry("no")


@task
async def undo(what: Any) -> None:
    DONE.append(f"undo {what}")


@task(compensate=undo)
async def book(what: str, after: Any = None) -> str:
    DONE.append(f"book {what}")
    return what


@branch
async def left(value: Any) -> str:
    return "left"


@dag
def clean(value: Any, factor: int = 2) -> Any:
    found = show(value)
    one, other = show.override(task_id="left")([found, factor]), show.override(task_id="right")(found)
    left(found) >> [one, other]
    return one


async def ended(definition: Any, **parameters: Any) -> Any:
    async with Harness(dags=[definition]) as harness:
        run_id = await harness.start(definition.dag_id, **parameters)
        await harness.run_until_done()
        run = await harness.run(run_id)
        return run.state, {name: str(view.state) for name, view in run.tasks.items()}, run


async def test_dag_inside_a_dag_has_its_tasks_under_its_name_each_time_it_is_called() -> None:
    @dag
    def outer(n: int) -> Any:
        return show([clean(n), clean(clean(n), factor=5)])

    state, states, run = await ended(outer, n=7)

    assert state == "succeeded"
    groups = ("clean", "clean__2", "clean__3")
    inside = {f"{group}.{name}" for group in groups for name in ("show", "left", "left__2", "right")}
    assert set(states) == inside | {"show"}
    assert states["clean__3.right"] == "skipped"
    assert run.result("show") == [[7, 2], [[7, 2], 5]]


async def test_dag_that_calls_itself_ends_by_its_constants() -> None:
    @dag
    def down(k: int) -> Any:
        return show(k) if k == 0 else down(k - 1)

    @dag
    def outer() -> Any:
        return down(3)

    state, states, _ = await ended(outer)

    assert (state, list(states)) == ("succeeded", ["down.down.down.down.show"])


def test_dag_that_calls_itself_for_ever_is_refused() -> None:
    @dag
    def endless(n: int) -> Any:
        return endless(n)

    problems = build(endless)

    assert not isinstance(problems, Dag)
    assert any("nested deeper than 16 levels; does it call itself?" in one.message for one in problems)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: clean(), "missing a required argument: 'value'"),
        (lambda: clean(1, other=2), "unexpected keyword argument 'other'"),
        (
            lambda: clean.group(on_failure="ignore")(1),
            "on_failure must be one of propagate, isolate, compensate",
        ),
        (lambda: clean.group(name="a/b")(1), "group 'a/b' must have 1 to 250 characters"),
    ],
)
def test_wrong_call_of_a_dag_inside_a_dag_is_refused(call: Any, told: str) -> None:
    @dag
    def outer() -> None:
        show()
        call()

    problems = build(outer)

    assert not isinstance(problems, Dag)
    assert any(told in one.message for one in problems)


async def test_isolated_group_fails_alone() -> None:
    @dag
    def broken() -> Any:
        return fail()

    @dag
    def outer() -> Any:
        found = broken.group(name="extra", on_failure="isolate")()
        return show.override(trigger_rule="all_done")(found)

    state, states, run = await ended(outer)

    assert (state, states) == ("succeeded", {"extra.fail": "failed", "show": "succeeded"})
    assert run.result("show") is None


async def test_group_has_callbacks_and_defaults_of_its_own() -> None:
    @task
    async def note(context: Context) -> None:
        DONE.append(context.task_id)

    @task
    async def flaky(context: Context) -> int:
        if context.attempt < 3:
            raise ValueError
        return context.attempt

    @dag(on_failure=note, on_success=note, task_defaults={"retries": 2, "retry_delay": 1})
    def patient() -> Any:
        return flaky()

    @dag
    def outer() -> Any:
        return patient()

    state, states, run = await ended(outer)

    assert (state, run.result("patient.flaky"), DONE) == ("succeeded", 3, ["patient.on_success"])
    assert states["patient.on_failure"] == "skipped"


async def test_options_of_a_task_win_over_the_defaults_of_its_dag() -> None:
    @dag(task_defaults={"retries": 5, "pool": "default", "timeout": 9})
    def defaults() -> None:
        show()
        show.override(task_id="own", retries=1)()

    built = build(defaults)

    assert isinstance(built, Dag)
    assert [node.retry.max_attempts for node in built.tasks] == [6, 2]
    assert {str(node.timeout) for node in built.tasks} == {"0:00:09"}


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ({"task_id": "a"}, "task_defaults: 'task_id' is no option that tasks can share"),
        ({"nothing": 1}, "task_defaults: 'nothing' is no option"),
        ([], "task_defaults must be options of tasks by name"),
    ],
)
def test_wrong_defaults_are_refused(defaults: Any, told: str) -> None:
    @dag(task_defaults=defaults)
    def wrong() -> None:
        show.override(task_id="one")()

    problems = build(wrong)

    assert not isinstance(problems, Dag)
    assert any(told in one.message for one in problems)


async def test_failed_run_undoes_what_it_did_last_first() -> None:
    @dag
    def trip() -> None:
        fail(book("flight", book("car", book("hotel"))))

    state, _, _ = await ended(trip)

    assert state == "failed"
    assert DONE == ["book hotel", "book car", "book flight", "undo flight", "undo car", "undo hotel"]


async def test_run_that_succeeds_undoes_nothing_and_one_that_failed_early_only_what_it_did() -> None:
    @dag
    def trip(good: bool) -> None:
        hotel = book("hotel")
        if_good = show(good)
        book("car", fail.override(task_id="stop", trigger_rule="all_done")([hotel, if_good]))

    @dag
    def fine() -> None:
        book("hotel")

    _, states, _ = await ended(fine)
    assert (states["book.compensate"], DONE) == ("skipped", ["book hotel"])

    DONE.clear()
    state, states, _ = await ended(trip, good=True)
    assert (state, states["book__2.compensate"]) == ("failed", "skipped")
    assert DONE == ["book hotel", "undo hotel"]


async def test_cancelled_run_undoes_what_it_did(tidemill_harness: MakeHarness) -> None:
    @task(retries=3, retry_delay=600)
    async def later(after: Any) -> None:
        raise ValueError

    @dag
    def trip() -> None:
        later(book("hotel"))

    async with tidemill_harness(dags=[trip]) as harness:
        run_id = await harness.start("trip")
        await harness.run_until_idle()
        await harness.cancel(run_id)
        await harness.run_until_done()

        assert (await harness.run(run_id)).state == "cancelled"
        assert DONE == ["book hotel", "undo hotel"]
        await check_store(harness, ended=1)


async def test_group_that_compensates_undoes_its_own_as_soon_as_it_has_failed() -> None:
    @dag
    def trip() -> Any:
        return fail(book("car"))

    @dag
    def outer() -> Any:
        found = trip.group(on_failure="compensate")()
        undone = show()
        completion_of(found) >> undone
        return undone

    state, _, _ = await ended(outer)

    assert state == "succeeded"  # the failure was waited for
    assert DONE == ["book car", "undo car"]


@task
async def fetch(url: str, context: Context) -> str:
    DONE.append(url)
    return f"{context.task_id} {url}"


@task(spawns=[fetch])
async def crawl(urls: list[str], context: Context) -> int:
    for url in urls:
        context.spawn(fetch, url=url)
    return len(urls)


@dag
def site(urls: list[str]) -> Any:
    return show(spawned(crawl(urls), fetch))


@pytest.mark.parametrize("urls", [[], ["a"], ["a", "b", "c"]])
async def test_task_adds_task_runs_to_its_run(urls: list[str]) -> None:
    state, states, run = await ended(site, urls=urls)

    assert state == "succeeded"
    assert run.result("show") == [f"fetch[{place}] {url}" for place, url in enumerate(urls)]
    assert [name for name in states if name.startswith("fetch[")] == [f"fetch[{n}]" for n in range(len(urls))]
    assert run.tasks["fetch"].map is not None
    assert run.tasks["fetch"].map.total == len(urls)


async def test_task_run_that_was_spawned_spawns_further_ones() -> None:
    @task(spawns="self")
    async def walk(depth: int, context: Context) -> int:
        if depth:
            context.spawn(walk, depth=depth - 1)
            context.spawn(walk, depth=depth - 1)
        return depth

    @dag
    def tree(depth: int) -> Any:
        return show(spawned(walk(depth), walk))

    state, _, run = await ended(tree, depth=3)

    assert state == "succeeded"
    assert sorted(run.result("show")) == [0] * 8 + [1] * 4 + [2] * 2


async def test_attempt_that_fails_has_asked_for_nothing(tidemill_harness: MakeHarness) -> None:
    @task(spawns=[fetch], retries=1, retry_delay=1)
    async def unsure(context: Context) -> None:
        context.spawn(fetch, url=f"attempt {context.attempt}")
        if context.attempt == 1:
            raise ValueError

    @dag
    def once() -> Any:
        return spawned(unsure(), fetch)

    state, _, run = await ended(once)

    assert (state, DONE, run.result("fetch")) == ("succeeded", ["attempt 2"], ["fetch[0] attempt 2"])


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda context: context.spawn(show, value=1), "is not in spawns= of this task (there are: fetch)"),
        (lambda context: context.spawn(fetch, address="a"), "missing a required argument: 'url'"),
        (lambda context: context.spawn(fetch, url=object()), "is not JSON serializable"),
    ],
)
async def test_what_cannot_be_spawned_fails_the_attempt_with_the_reason(ask: Any, told: str) -> None:
    @task(spawns=[fetch])
    async def asks(context: Context) -> None:
        ask(context)

    @dag
    def asking() -> None:
        asks()

    state, states, run = await ended(asking)

    assert (state, states["fetch"]) == ("failed", "upstream_failed")
    assert told in run.tasks["asks"].error.message


async def test_task_that_asks_for_too_much_fails_and_nothing_of_it_starts() -> None:
    async with Harness(dags=[site], max_map_length=3) as harness:
        run_id = await harness.start("site", urls=["a", "b", "c", "d"])
        await harness.run_until_done()
        run = await harness.run(run_id)

    assert run.tasks["crawl"].error is not None
    assert run.tasks["crawl"].error.message == "fetch would have 4 task runs and max_map_length is 3"
    assert not DONE


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"spawns": [fetch]}, "spawns needs a parameter of type Context"),
        ({"spawns": ["fetch"]}, 'spawns must list tasks or "self", not str'),
    ],
)
def test_wrong_spawns_are_refused(options: dict[str, Any], told: str) -> None:
    @dag
    def wrong() -> None:
        show.override(**options)()

    problems = build(wrong)

    assert not isinstance(problems, Dag)
    assert any(told in one.message for one in problems)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("passage", range(1, 7))
async def test_spawned_task_runs_survive_a_death_at_every_commit(
    tidemill_harness: MakeHarness, side: str, passage: int
) -> None:
    async with tidemill_harness(dags=[site], max_running_tasks=2) as harness:
        harness.faults.append(CrashAt(f"record.{side}_commit", passage))
        with suppress(HarnessError):
            await harness.start("site", urls=["a", "b", "c"])
            await harness.run_until_idle()
        if not harness.is_running:
            await harness.restart(faults=[])
        await harness.run_until_done()

        (listed,) = await harness.runs()
        run = await harness.run(listed.run_id)
        assert run.result("show") == ["fetch[0] a", "fetch[1] b", "fetch[2] c"]
        await check_store(harness, ended=1)
