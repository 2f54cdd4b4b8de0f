"""Topics that come, go and come again under the same name: nothing of them is passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.sources.contract import SourceState
from tidemill.storage.contract import Append, CursorMove, Store

pytestmark = pytest.mark.kafka

GAP = "dev.tidemill.source.gap.v1"


def rows(numbers: range, partition: int = 0) -> list[Any]:
    """Records that are no CloudEvents: their place is their identity."""
    return [(partition, b"k%d" % number, b'{"row": %d}' % number, []) for number in numbers]


async def numbers(log: Any) -> list[int]:
    return [event.data["row"] for event in await log.events() if "row" in event.data]


async def test_topic_made_again_while_down_is_told_although_it_reaches_beyond_the_cursor(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, rows(range(5)))
    async with run(make_source(topic, event_type="row")):
        await log.wait_for_count(5)
    await cluster.delete_topic(topic)
    await cluster.create_topic(1, name=topic)
    await cluster.produce(topic, rows(range(100, 120)))

    async with run(make_source(topic, event_type="row")) as stage:
        await log.wait_for_count(26)
    await cluster.produce(topic, rows(range(120, 122)))
    async with run(make_source(topic, event_type="row")):  # told once
        await log.wait_for_count(28)

    (gap,) = await log.of_type(GAP)
    assert (gap.data["reason"], gap.data["expected_offset"], gap.data["resumed_at_offset"]) == (
        "recreated",
        5,
        0,
    )
    assert (gap.data["source"], gap.data["kind"], gap.subject) == ("orders", "kafka", f"{topic}/0")
    assert await numbers(log) == [*range(5), *range(100, 122)]
    # Places of the earlier topic are not taken for places of this one.
    assert await log.letters() == []
    assert stage.status().duplicates == 0
    assert (await log.events())[-1].id == f"{topic}/0/21/{gap.data['topic_id']}"


async def test_topic_made_again_while_it_is_read_is_told_and_read_from_its_beginning(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, rows(range(5)))

    async with run(make_source(topic, event_type="row", metadata_seconds=1)):
        await log.wait_for_count(5)
        await cluster.delete_topic(topic)
        await cluster.create_topic(1, name=topic)
        await cluster.produce(topic, rows(range(100, 120)))
        await log.wait_for_count(26)

    (gap,) = await log.of_type(GAP)
    assert (gap.data["reason"], gap.data["expected_offset"]) == ("recreated", 5)
    assert await numbers(log) == [*range(5), *range(100, 120)]
    assert await log.letters() == []


async def test_topic_made_again_is_told_also_when_nothing_comes(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, rows(range(3)))

    async with run(make_source(topic, event_type="row", metadata_seconds=1)):
        await log.wait_for_count(3)
        await cluster.delete_topic(topic)
        await cluster.create_topic(1, name=topic)
        await log.wait_for_count(4)

    (gap,) = await log.of_type(GAP)
    assert (gap.data["expected_offset"], gap.data["end_offset"]) == (3, 0)


async def test_partitions_that_a_topic_made_again_has_no_more_are_told(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    topic = await cluster.create_topic(3)
    await cluster.produce(topic, [row for partition in range(3) for row in rows(range(2), partition)])
    async with run(make_source(topic, event_type="row")):
        await log.wait_for_count(6)
    await cluster.delete_topic(topic)
    await cluster.create_topic(1, name=topic)

    async with run(make_source(topic, event_type="row")):
        await log.wait_for_count(9)

    gaps = {gap.subject: gap.data["resumed_at_offset"] for gap in await log.of_type(GAP)}
    assert gaps == {f"{topic}/0": 0, f"{topic}/1": None, f"{topic}/2": None}


async def test_deleted_topic_is_told_and_read_again_when_it_is_there_again(
    cluster: Any, make_source: Any, run: Any, log: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, rows(range(2)))

    async with run(make_source(topic, event_type="row", metadata_seconds=1)) as stage:
        await log.wait_for_count(2)
        await cluster.delete_topic(topic)
        await wait_until(lambda: stage.status().state is SourceState.DEGRADED)
        told = stage.status().error
        await cluster.create_topic(1, name=topic)
        await cluster.produce(topic, rows(range(10, 12)))
        await log.wait_for_count(5)
        await wait_until(lambda: stage.status().state is SourceState.LIVE)

    assert told == f"no such topic: {topic}"
    assert await numbers(log) == [0, 1, 10, 11]
    assert len(await log.of_type(GAP)) == 1


async def test_records_that_expire_before_the_first_read_are_told(
    cluster: Any, make_source: Any, run: Any, log: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    async with run(make_source(topic, event_type="row")) as stage:
        await wait_until(lambda: stage.status().state is SourceState.LIVE)
    await cluster.produce(topic, rows(range(10)))
    await cluster.delete_records(topic, 0, before=4)

    async with run(make_source(topic, event_type="row")):
        await log.wait_for_count(7)

    (gap,) = await log.of_type(GAP)
    assert (gap.data["reason"], gap.data["expected_offset"], gap.data["missing"]) == ("expired", 0, 4)
    assert await numbers(log) == [4, 5, 6, 7, 8, 9]


async def test_offsets_that_the_brokers_have_lost_are_told_and_nothing_is_read_twice(
    cluster: Any, make_source: Any, run: Any, log: Any, store: Store
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, rows(range(3)))
    async with run(make_source(topic, event_type="row")):
        await log.wait_for_count(3)
    (name,) = await store.ledger.cursors("kafka/orders/")
    await store.log.append(Append(cursors=[CursorMove(name, "3", "50")]))  # as if the topic had been longer

    async with run(make_source(topic, event_type="row")):
        await log.wait_for_count(4)
        await cluster.produce(topic, rows(range(3, 5)))
        await log.wait_for_count(6)

    (gap,) = await log.of_type(GAP)
    told = (gap.data["reason"], gap.data["expected_offset"], gap.data["resumed_at_offset"])
    assert told == ("truncated", 50, 3)
    assert await numbers(log) == [0, 1, 2, 3, 4]


async def test_cursor_written_before_ids_were_known_is_taken_over(
    cluster: Any, make_source: Any, run: Any, log: Any, store: Store, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, rows(range(10)))
    async with run(make_source(topic, event_type="row", start="latest")) as stage:
        await wait_until(lambda: stage.status().state is SourceState.LIVE)
    (named,) = await store.ledger.cursors("kafka/")
    before_ids = named.partition("@")[0] + "/0"
    other = make_source(topic, event_type="row", name="other")
    moved = CursorMove(before_ids.replace("/orders/", "/other/"), None, "6")
    await store.log.append(Append(cursors=[moved]))

    async with run(other):
        await log.wait_for_count(4)

    assert await numbers(log) == [6, 7, 8, 9]
    assert await log.of_type(GAP) == []


async def test_pattern_reads_topics_that_fit_also_those_made_later(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    first = await cluster.create_topic(2)
    base = first.rpartition("-")[2]
    outside, later = f"x{base}-a", f"{base}-late-b"
    await cluster.create_topic(1, name=outside)
    await cluster.produce(first, rows(range(3)))
    await cluster.produce(outside, rows(range(50, 53)))

    source = make_source(
        first, event_type="row", topics=(first,), topics_pattern=f"{base}-*-?", metadata_seconds=1
    )
    async with run(source):
        await log.wait_for_count(3)
        await cluster.create_topic(1, name=later)
        await cluster.produce(later, rows(range(10, 13)))
        await log.wait_for_count(6)

    assert sorted(await numbers(log)) == [0, 1, 2, 10, 11, 12]


async def test_pattern_from_the_latest_reads_topics_made_later_from_their_beginning(
    cluster: Any, make_source: Any, run: Any, log: Any, wait_until: Any
) -> None:
    first = await cluster.create_topic(1)
    base = first.rpartition("-")[2]
    await cluster.create_topic(1, name=f"{base}-a")
    await cluster.produce(f"{base}-a", rows(range(3)))
    pattern = {"topics": (), "topics_pattern": f"{base}-*", "start": "latest"}

    async with run(make_source(first, event_type="row", **pattern)) as stage:
        await wait_until(lambda: stage.status().state is SourceState.LIVE)
    await cluster.create_topic(1, name=f"{base}-b")
    await cluster.produce(f"{base}-b", rows(range(10, 12)))
    await cluster.produce(f"{base}-a", rows(range(3, 5)))
    async with run(make_source(first, event_type="row", **pattern)):
        await log.wait_for_count(4)

    assert sorted(await numbers(log)) == [3, 4, 10, 11]


async def test_pattern_that_nothing_fits_is_told(
    cluster: Any, make_source: Any, run: Any, wait_until: Any
) -> None:
    source = make_source("none", topics=(), topics_pattern="there-is-no-such-topic-*")

    async with run(source) as stage:
        await wait_until(lambda: stage.status().state is SourceState.DEGRADED)
        told = stage.status().error

    assert told == "no topic fits there-is-no-such-topic-*"


async def test_lag_is_known_while_the_backlog_is_full(
    cluster: Any, make_source: Any, run: Any, log: Any, store: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    full = FullLog(store.log)
    await cluster.produce(topic, rows(range(2)))

    async with run(make_source(topic, event_type="row", log=full)) as stage:
        await log.wait_for_count(2)
        full.seconds = 1
        await wait_until(lambda: stage.status().state is SourceState.DEGRADED)
        await cluster.produce(topic, rows(range(2, 302)))
        await wait_until(lambda: stage.status().lag == 300)
        full.seconds = None
        await log.wait_for_count(302)
        await wait_until(lambda: stage.status().lag == 0)

    assert await numbers(log) == list(range(302))


class FullLog:
    """An event log whose backlog is full while a test says so."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.seconds: int | None = None

    def overload(self) -> int | None:
        return self.seconds

    async def append(self, job: Any) -> Any:
        return await self._log.append(job)
