"""Nodes come, go, fall silent: every shard has one owner, and only the owner's records are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.integration.postgres.conftest import Opener

from tidemill.errors import ShardLost
from tidemill.ids import SHARDS
from tidemill.storage.contract import NewRun, Recorded, RouteBatch
from tidemill.storage.postgres import PostgresStore
from tidemill.storage.shards import ALL
from tidemill.testing.postgres import PostgresServer

pytestmark = pytest.mark.postgres

_PATIENCE = 20


async def _join(store: PostgresStore, name: str, *, busy: Callable[[], frozenset[int]] = frozenset) -> None:
    await store.membership.join(name, "http://localhost", timeout_seconds=2, load=dict, busy=busy)


async def _wait_for_shares(*stores: PostgresStore) -> None:
    """Return when the stores own all shards in equal parts, none of them twice."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            owned = [store.shards.owned for store in stores]
            sizes = sorted(map(len, owned))
            if sum(sizes) == SHARDS and sizes[-1] - sizes[0] <= 1:
                assert len(frozenset.union(*owned)) == SHARDS
                return
            await asyncio.sleep(0.02)


async def test_the_first_node_owns_everything(open_node: Opener) -> None:
    store = await open_node()

    await _join(store, "one")

    assert len(store.shards.owned) == SHARDS
    (view,) = await store.nodes()
    assert (view.node, view.shards, view.draining) == ("one", SHARDS, False)


async def test_nodes_share_evenly_as_they_come_and_go(open_node: Opener) -> None:
    nodes = [await open_node() for _ in range(3)]
    await _join(nodes[0], "a")
    await _join(nodes[1], "b")
    await _wait_for_shares(*nodes[:2])
    before = [node.shards.owned for node in nodes[:2]]

    await _join(nodes[2], "c")
    await _wait_for_shares(*nodes)

    # Only what had to move has moved.
    assert all(node.shards.owned < owned for node, owned in zip(nodes, before, strict=False))
    await nodes[1].membership.leave()
    await _wait_for_shares(nodes[0], nodes[2])
    assert [view.node for view in await nodes[0].nodes()] == ["a", "c"]


async def test_shards_of_a_node_that_died_are_taken_over(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    await _join(one, "one")
    await _join(two, "two")
    await _wait_for_shares(one, two)
    begun = asyncio.get_running_loop().time()

    await two.abandon()
    await _wait_for_shares(one)

    assert asyncio.get_running_loop().time() - begun < 5


async def test_new_owner_knows_whether_the_last_one_may_have_died(
    open_node: Opener, postgres_server: PostgresServer, postgres_url: str
) -> None:
    one, two = await open_node(), await open_node()
    await _join(one, "one")
    assert not any(map(one.shards.died, ALL)), "nobody has ever had them"
    await _join(two, "two")
    await _wait_for_shares(one, two)
    moved = two.shards.owned
    assert not any(map(two.shards.died, moved)), "the first node gave them back"

    await two.abandon()
    await _wait_for_shares(one)
    assert all(map(one.shards.died, moved))

    end = "SELECT pg_terminate_backend(session) FROM nodes WHERE node = 'one'"
    taken: list[frozenset[int]] = []
    one.shards.listen(lambda gained, lost: taken.append(gained))
    await asyncio.to_thread(postgres_server.run, end, postgres_url.rpartition("/")[2])
    async with asyncio.timeout(_PATIENCE):
        while frozenset().union(*taken) != ALL:  # noqa: ASYNC110 - rounds tell nobody
            await asyncio.sleep(0.02)
    assert not any(map(one.shards.died, ALL)), "its session was lost, and it lives"


async def test_a_silent_node_is_ended_before_its_shards_are_taken(
    open_node: Opener, postgres_server: PostgresServer
) -> None:
    one, two = await open_node(), await open_node()
    await _join(one, "one")
    await _join(two, "two")
    await _wait_for_shares(one, two)
    lost: list[frozenset[int]] = []
    two.shards.listen(lambda gained, gone: lost.append(gone))

    await two.membership.abandon()  # it is there and says nothing any more, as a stopped process
    await _wait_for_shares(one)

    assert lost[0]
    assert two.shards.owned == frozenset()


async def test_shards_with_running_attempts_move_last(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    busy = frozenset(range(200, 256))
    await _join(one, "one", busy=lambda: busy)

    await _join(two, "two")
    await _wait_for_shares(one, two)

    assert busy <= one.shards.owned


def _run(shard: int) -> NewRun:
    return NewRun(
        run_id=f"run-{shard}",
        dag="orders",
        version="v1",
        trigger="t",
        position=1,
        event_source="/s",
        event_id="1",
        parameters=b"{}",
        queued_at=1,
        correlation_id="c",
        hop_count=0,
        shard=shard,
    )


async def test_records_of_a_lost_shard_are_refused_and_counted(open_node: Opener) -> None:
    one = await open_node()
    await _join(one, "one")
    await one.runs.route(RouteBatch(expected=0, cursor=0, runs=[_run(shard) for shard in range(SHARDS)]))
    epochs = {shard: one.shards.epoch(shard) for shard in range(SHARDS)}
    two = await open_node()
    await _join(two, "two")
    await _wait_for_shares(one, two)
    gone = min(two.shards.owned)
    kept = min(one.shards.owned)
    rows = [Recorded(f"run-{shard}", 0, 1, b"[]") for shard in (kept, gone)]

    with pytest.raises(ShardLost) as refused:
        await one.runs.record(rows, fence={(kept, epochs[kept]), (gone, epochs[gone])})
    await one.runs.record(rows[:1], fence={(kept, epochs[kept])})
    await two.runs.record(rows[1:], fence={(gone, two.shards.epoch(gone))})

    assert refused.value.shards == {gone}
    assert one.refused_records == 2
    assert two.shards.epoch(gone) > epochs[gone]
    assert [await one.runs.history(f"run-{shard}") for shard in (kept, gone)] == [[(0, 1, b"[]")]] * 2


async def test_a_shard_that_was_lost_and_taken_again_is_a_new_epoch(
    open_node: Opener, postgres_server: PostgresServer, postgres_url: str
) -> None:
    one = await open_node()
    await _join(one, "one")
    await one.runs.route(RouteBatch(expected=0, cursor=0, runs=[_run(7)]))
    old = one.shards.epoch(7)
    changes: list[tuple[int, int]] = []
    one.shards.listen(lambda gained, lost: changes.append((len(gained), len(lost))))
    name = postgres_url.rpartition("/")[2]

    await asyncio.to_thread(
        postgres_server.run,
        "SELECT pg_terminate_backend(session) FROM nodes",
        name,
    )
    async with asyncio.timeout(_PATIENCE):
        while len(changes) < 2 or len(one.shards.owned) < SHARDS:  # noqa: ASYNC110 - rounds tell nobody
            await asyncio.sleep(0.02)
    with pytest.raises(ShardLost):
        await one.runs.record([Recorded("run-7", 0, 1, b"[]")], fence={(7, old)})
    await one.runs.record([Recorded("run-7", 0, 1, b"[]")], fence={(7, one.shards.epoch(7))})

    assert changes[0] == (0, SHARDS)
    assert one.refused_records == 1
