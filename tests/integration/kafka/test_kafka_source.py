"""The Kafka source against a real broker: each record once in the log, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tidemill.errors import StoreUnavailable
from tidemill.sources.contract import SourceState
from tidemill.storage.contract import Append, Appended

pytestmark = pytest.mark.kafka


def numbers_by_partition(events: list[Any]) -> dict[str, list[int]]:
    """Order numbers per partition, in the order of the log."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        found[event.id.split("-")[1]].append(event.data["order"])
    return found


async def test_records_are_logged_once_in_partition_order_over_restarts(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any
) -> None:
    topic = await cluster.create_topic(4)
    first, second = range(500), range(500, 1000)
    await cluster.produce(topic, [order(n, partition=n % 4) for n in first])

    async with run(make_source(topic)):
        await log.wait_for_count(500)
    await cluster.produce(topic, [order(n, partition=n % 4) for n in second])
    async with run(make_source(topic)) as stage:
        await log.wait_for_count(1000)
    status = stage.status()

    events = await log.events()
    assert len(events) == 1000
    assert numbers_by_partition(events) == {str(p): list(range(p, 1000, 4)) for p in range(4)}
    assert (status.accepted, status.duplicates, status.refused) == (500, 0, 0)
    assert events[0].extensions["partitionkey"].startswith("customer-")


async def test_source_reports_lag_and_state(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(2)
    await cluster.produce(topic, [order(n) for n in range(20)])
    stage = make_source(topic)

    before = stage.status()
    async with run(stage):
        await log.wait_for_count(20)
        await wait_until(lambda: stage.status().lag == 0)
        during = stage.status()

    assert (before.state, before.lag) == (SourceState.STARTING, None)
    assert (during.kind, during.state, during.accepted) == ("kafka", SourceState.LIVE, 20)
    assert during.last_event_at is not None
    assert stage.status().state is SourceState.STOPPED


async def test_two_consumers_share_partitions_while_rebalancing_and_double_nothing(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(8)
    total = 20_000
    records = [order(n, partition=n % 8) for n in range(total)]

    async def produce(begin: int, end: int) -> None:
        for at in range(begin, end, 2000):
            await cluster.produce(topic, records[at : min(at + 2000, end)])

    first, second, third = (make_source(topic) for _ in range(3))
    async with run(first):
        producing = asyncio.create_task(produce(0, 8000))
        await log.wait_for_count(2000)
        async with run(second):
            # However fast the first one is, something is left to read once the second has its share.
            await wait_until(lambda: second.status().state is SourceState.LIVE)
            await producing
            producing = asyncio.create_task(produce(8000, 16_000))
            await wait_until(lambda: second.status().accepted > 500)
        async with run(third):
            await wait_until(lambda: third.status().accepted > 500 or producing.done())
            await producing
            await produce(16_000, total)
            await log.wait_for_count(total)

    events = await log.events()
    assert len(events) == total
    assert numbers_by_partition(events) == {str(p): list(range(p, total, 8)) for p in range(8)}
    assert sum(stage.status().accepted for stage in (first, second, third)) == total
    assert sum(stage.status().duplicates for stage in (first, second, third)) == 0


async def test_aborted_records_are_never_read(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers, transactional_id=f"tx-{topic}")
    async with producer:
        for numbers, commit in ((range(3), True), (range(3, 6), False), (range(6, 9), True)):
            await producer.begin_transaction()
            for number in numbers:
                _, key, value, headers = order(number)
                await producer.send_and_wait(topic, value=value, key=key, headers=headers)
            await (producer.commit_transaction() if commit else producer.abort_transaction())

    async with run(make_source(topic)) as stage:
        await log.wait_for_count(6)
        await wait_until(lambda: stage.status().lag == 0)

    assert numbers_by_partition(await log.events()) == {"0": [0, 1, 2, 6, 7, 8]}


async def test_start_latest_skips_what_was_there_and_survives_a_restart_before_the_first_record(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(2)
    await cluster.produce(topic, [order(n, partition=n % 2) for n in range(10)])

    async with run(make_source(topic, start="latest")) as stage:
        await wait_until(lambda: stage.status().state is SourceState.LIVE)
    await cluster.produce(topic, [order(n, partition=n % 2) for n in range(10, 14)])  # while it is down
    async with run(make_source(topic, start="latest")):
        await log.wait_for_count(4)

    assert sorted(event.data["order"] for event in await log.events()) == [10, 11, 12, 13]


class FailingLog:
    """An event log whose appends fail at chosen calls: before the commit, or after it, the answer lost."""

    def __init__(self, log: Any, failures: dict[int, str]) -> None:
        self._log = log
        self._failures = failures
        self._calls = 0

    def overload(self) -> int | None:
        answer: int | None = self._log.overload()
        return answer

    async def append(self, job: Append) -> list[Appended]:
        self._calls += 1
        failure = self._failures.get(self._calls)
        if failure == "before":
            raise StoreUnavailable("the disk did not answer")
        answers: list[Appended] = await self._log.append(job)
        if failure == "after":
            raise StoreUnavailable("the answer of the commit was lost")
        return answers


@pytest.mark.parametrize("when", ["before", "after"])
async def test_failing_commits_lose_and_double_nothing(
    when: str, cluster: Any, make_source: Any, run: Any, log: Any, order: Any, store: Any
) -> None:
    topic = await cluster.create_topic(2)
    await cluster.produce(topic, [order(n, partition=n % 2) for n in range(4000)])
    failing = FailingLog(store.log, {1: when, 3: when})

    async with run(make_source(topic, log=failing)):
        await log.wait_for_count(4000)

    events = await log.events()
    assert len(events) == 4000
    assert numbers_by_partition(events) == {str(p): list(range(p, 4000, 2)) for p in range(2)}
