"""Stubs, deliveries, expectations, snapshots, seeds: what a test says about its workflows, and what it is told."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill import Context, Retry, dag, task
from tidemill.testing import BlockingHarness, Harness, MakeHarness, compare_speed, make_context
from tidemill.testing.histories import normalise
from tidemill.testing.stubs import StubError

#: Attempts two hours apart.
PATIENT = Retry(
    max_attempts=5, delay=timedelta(hours=2), max_delay=timedelta(hours=4), growth="fixed", jitter=0
)


@task
def price(sku: str) -> int:
    return {"TEA": 450}[sku]


@task(retry=PATIENT)
async def charge(cents: int, context: Context, currency: str = "EUR") -> dict[str, Any]:
    return {"cents": cents, "currency": currency, "attempt": context.attempt}


@dag(dag_id="order")
def order(sku: str = "TEA") -> Any:
    return charge(price(sku))


SUBSCRIBED = """
    triggers:
      - {name: orders, dag: order, pattern: {type: [order]}, parameters: {sku: $.data.sku}}
    subscriptions:
      - name: ends
        filters: [{prefix: {type: dev.tidemill.run.}}]
        webhook: {url: "https://receiver.example.com/ends", secret: {env: NO_SUCH_SECRET}}
      - name: topic
        filters: [{prefix: {type: dev.tidemill.run.}}]
        kafka: {topic: ends}
"""


# ── stubs ──


async def test_stub_returns_in_place_of_the_task_and_keeps_its_calls(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[order]) as harness:
        prices = harness.stub("order.price", returns=7)
        await harness.start("order", sku="NEW")
        await harness.run_until_done()

        await harness.expect_run("order", result={"cents": 7, "currency": "EUR", "attempt": 1})
        assert prices.arguments == {"sku": "NEW"}
        assert [(call.task_id, call.attempt) for call in prices.calls] == [("price", 1)]


async def test_stub_raises_so_many_times_and_then_lets_the_task_be_called(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[order]) as harness:
        busy = harness.stub("order.charge", raises=ConnectionError("busy"), times=2)
        run_id = await harness.start("order")
        await harness.run_until_idle()
        assert (await harness.run(run_id)).states["charge"] == "retrying"
        await harness.run_until_done()

        run = await harness.expect_run("order", attempts={"charge": 3})
        assert run.result("charge")["attempt"] == 3
        assert busy.call_count == 2
        assert busy.calls[1].arguments["context"].attempt == 2
        with pytest.raises(AssertionError, match="was called 2 times"):
            _ = busy.arguments


async def test_stub_calls_a_function_of_either_kind_and_can_be_taken_away(
    tidemill_harness: MakeHarness,
) -> None:
    async def late(cents: int, context: Context, currency: str = "EUR") -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"late": cents}

    async with tidemill_harness(dags=[order]) as harness:
        harness.stub("order.price", calls=lambda sku: len(sku))
        harness.stub("order.charge", calls=late)
        await harness.start("order", sku="four")
        await harness.run_until_done()
        await harness.expect_run("order", result={"late": 4})
        harness.unstub("order.price")
        harness.unstub("order.charge")
        await harness.start("order")
        await harness.run_until_done()
        await harness.expect_run("order", result={"cents": 450, "currency": "EUR", "attempt": 1})


async def test_stub_of_no_task_names_those_there_are(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[order]) as harness:
        with pytest.raises(StubError, match=r"these are: order.price, order.charge"):
            harness.stub("order.pay", returns=1)
        with pytest.raises(StubError, match="one of returns, raises and calls"):
            harness.stub("order.price", returns=1, raises=ValueError)


def test_context_is_made_up_for_a_task_that_is_called() -> None:
    context = make_context("order", "charge", attempt=3)

    assert (context.attempt, context.idempotency_key, context.parameters) == (3, "run/charge", {})
    assert asyncio.run(charge.function(5, context))["attempt"] == 3


# ── deliveries ──


async def test_deliveries_are_kept_as_they_would_be_sent(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[order], triggers=SUBSCRIBED) as harness:
        await harness.send(type="order", data={"sku": "TEA"})
        await harness.run_until_done()

        (sent,) = await harness.deliveries("ends")
        assert sent.to == "https://receiver.example.com/ends"
        assert sent.json()["type"] == "dev.tidemill.run.succeeded.v1"
        assert sent.json()["data"]["result"]["cents"] == 450
        assert sent.headers["content-type"].startswith("application/cloudevents+json")
        assert sent.headers["webhook-signature"].startswith("v1,")
        (record,) = await harness.deliveries("topic")
        assert (record.to, record.key, record.status) == ("ends", sent.json()["subject"].encode(), 200)


async def test_receiver_that_refuses_is_asked_again_in_virtual_time(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[order], triggers=SUBSCRIBED) as harness:
        harness.answer("ends", 503, times=2)
        harness.answer("ends", None)
        await harness.send(type="order", data={"sku": "TEA"})
        await harness.run_until_done()
        assert len(await harness.deliveries("ends")) == 1
        await harness.advance(hours=1)

        assert [one.status for one in await harness.deliveries("ends")] == [503, 503, 0, 200]
        assert len(await harness.deliveries("ends", accepted=True)) == 1
        assert {one.body for one in await harness.deliveries("ends")} == {
            (await harness.deliveries("ends"))[0].body
        }


# ── expectations ──


async def test_expectation_that_fails_shows_what_happened(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[order]) as harness:
        await harness.start("order", sku="GONE")
        await harness.run_until_done()
        with pytest.raises(AssertionError) as failed:
            await harness.expect_run("order", result=3)
        with pytest.raises(AssertionError, match="there is no run of nothing"):
            await harness.expect_run("nothing")

        said = str(failed.value)
        assert said.startswith("expected 1 run of order with state 'succeeded', result 3; there are 0\nrun ")
        assert "task_failed price 1 KeyError: 'GONE'" in said
        run = await harness.expect_run("order", state="failed", states={"charge": "upstream_failed"})
        assert run.parameters == {"sku": "GONE"}


async def test_completions_are_found_by_dag_and_type(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[order]) as harness:
        for sku in ("TEA", "GONE"):
            await harness.start("order", sku=sku)
        await harness.run_until_done()

        assert len(await harness.completions(dag="order")) == 2
        assert await harness.completions(dag="other") == []
        (failed,) = await harness.completions(type="dev.tidemill.run.failed.v1")
        assert failed.data["dag"] == "order"


async def test_normalised_history_is_the_same_with_another_seed_and_another_time(
    tidemill_harness: MakeHarness,
) -> None:
    texts = []
    for seed, wait in ((1, 0), (2, 12345)):
        async with tidemill_harness(dags=[order], seed=seed) as harness:
            await harness.advance(wait)
            harness.stub("order.charge", raises=ConnectionError("busy"), times=1)
            await harness.start("order", sku="TEA")
            await harness.run_until_done()
            run = await harness.expect_run("order")
            texts.append(normalise(run.summary, run.history))

    assert texts[0] == texts[1]
    assert 'task_retrying "charge" 1 ["ConnectionError","busy","<traceback>"] "<+7200s>"' in texts[0]
    assert "\n+7200s task_succeeded" in texts[0]


async def test_history_snapshot_is_written_only_when_asked_and_held_to_afterwards(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    file = tmp_path / "histories" / "order.txt"

    async with tidemill_harness(dags=[order]) as harness:
        await harness.start("order")
        await harness.run_until_done()
        run = await harness.expect_run("order")
        with pytest.raises(AssertionError, match="--tidemill-update writes it"):
            harness.compare_history(run, file)
        harness.compare_history(run, file, update=True)
        harness.compare_history(run, file)
        file.write_text(file.read_text().replace("450", "451"))

        with pytest.raises(AssertionError, match=r'-\+0s task_succeeded "price" 1 451'):
            harness.compare_history(run, file)


# ── the same story ──


async def story(seed: int) -> str:
    """A digest of everything that a story with retries, chance, threads, files and deliveries has left on disk."""
    jittered = Retry(max_attempts=5, delay=timedelta(minutes=1), jitter="full")

    @task(retry=jittered)
    def flaky(number: int, context: Context) -> int:
        time.sleep(0.002 if number % 2 else 0)
        if context.attempt <= number % 3:
            raise ConnectionError(number)
        return number

    @task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @dag
    def wide() -> Any:
        return total([flaky.override(task_id=f"f{number}")(number) for number in range(8)])

    triggers = SUBSCRIBED.replace(
        "triggers:", "triggers:\n      - {name: w, dag: wide, pattern: {type: [wide]}}", 1
    )
    async with Harness(dags=[order, wide], triggers=triggers, seed=seed) as harness:
        harness.answer("ends", 500, times=3)
        for _ in range(3):
            await harness.send(type="wide")
            await harness.send(type="order", data={"sku": "TEA"})
            await harness.send(type="order", data={})
            await harness.advance(30)
        await harness.run_until_done()
        await harness.advance(hours=2)
        left: list[list[Any]] = [
            [await harness.store.runs.history(run.run_id) for run in await harness.runs()],
            await harness.events(),
            await harness.dead_letters(),
            await harness.deliveries("ends"),
        ]
        assert len(left[0]) == 6
        assert len(left[2]) == 3
        return hashlib.sha256(repr(left).encode()).hexdigest()


async def test_same_seed_gives_the_same_history_byte_for_byte_and_another_seed_another_one() -> None:
    first, second, other = [await story(seed) for seed in (7, 7, 8)]

    assert first == second
    assert first != other


def test_same_seed_gives_the_same_history_in_every_process() -> None:
    program = "import asyncio, test_kit; print(asyncio.run(test_kit.story(7)))"

    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            timeout=60,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


# ── time ──


async def test_thirty_days_of_hourly_ticks_retries_and_waits_take_two_seconds(
    tidemill_harness: MakeHarness,
) -> None:
    @task
    async def fetch() -> int:
        return 1

    @task(retry=PATIENT)
    async def load(value: int, context: Context) -> int:
        if context.attempt < 3:
            raise ConnectionError("busy")
        return value

    @dag(schedule="@hourly")
    def hourly() -> Any:
        return fetch()

    @dag(schedule="15 * * * *")
    def quarter() -> Any:
        return fetch()

    @dag(schedule="@daily")
    def daily() -> Any:
        return load(fetch())

    async with tidemill_harness(dags=[hourly, quarter, daily]) as harness:
        begun = time.perf_counter()
        await harness.advance(days=30)
        taken = time.perf_counter() - begun

        await harness.expect_runs("hourly", 720)
        await harness.expect_runs("quarter", 720)
        await harness.expect_runs("daily", 29, attempts={"load": 3})
        # Two seconds on an idle machine; what others do to it meanwhile is not ours.
        assert taken < 6


# ── without await ──


def test_blocking_harness_has_every_word_and_no_await() -> None:
    with BlockingHarness(dags=[order], triggers=SUBSCRIBED) as harness:
        harness.send(type="order", data={"sku": "TEA"})
        harness.run_until_done()
        run = harness.expect_run("order")

        assert run.result("price") == 450
        assert len(harness.deliveries("ends")) == 1
        assert harness.live_runs == 0
        assert "expect_run" in dir(harness)
        with pytest.raises(AttributeError):
            _ = harness.no_such_word


# ── speed ──


def test_speed_is_compared_in_pairs_with_a_baseline() -> None:
    def work(rounds: int) -> int:
        return sum(range(rounds))

    async def ours() -> int:
        return work(40_000)

    found = compare_speed(ours, lambda: work(20_000), at_most=50, rounds=5)

    assert len(found.ours) == len(found.baseline) == 5
    assert found.ratio > 1
    with pytest.raises(AssertionError, match=r"too slow: .* times the baseline \(median of 3 pairs"):
        compare_speed(lambda: work(200_000), lambda: work(1000), at_most=2, rounds=3)


# ── what it stands on ──


def test_ids_of_a_seed_sort_by_virtual_time_and_are_made_in_its_context_only() -> None:
    from tidemill import ids
    from tidemill.testing import ManualClock
    from tidemill.testing.seeded import SeededIds

    def made() -> list[str]:
        clock = ManualClock()
        maker = SeededIds(clock, 3)
        found = []
        with ids.made_by(maker.next):
            for _ in range(100):
                found += [ids.new_id(), ids.new_id()]
                clock.advance(0.0005)
        return found

    found = made()

    assert found == made() == sorted(found)
    assert len(set(found)) == 200
    assert ids.new_id() > found[-1]


def test_harness_rests_in_an_event_loop_that_does_not_tell_what_is_ready() -> None:
    import uvloop

    async def play() -> int:
        async with Harness(dags=[order], triggers=SUBSCRIBED) as harness:
            for _ in range(5):
                await harness.send(type="order", data={"sku": "TEA"})
            await harness.run_until_done()
            return len(await harness.expect_runs("order", 5))

    assert uvloop.run(play()) == 5
