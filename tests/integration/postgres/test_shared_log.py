"""Several nodes append to one log: positions rise by one, in the order in which they can be seen."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.integration.postgres.conftest import Opener

from tidemill.errors import CursorMoved, StorageError, StoreUnavailable
from tidemill.events.event import Event
from tidemill.storage.contract import Append, CursorMove, Delivery, NewRun, RouteBatch
from tidemill.storage.postgres import PostgresStore
from tidemill.testing.postgres import PostgresServer

pytestmark = pytest.mark.postgres

_PATIENCE = 20


def _event(node: int, number: int) -> Event:
    return Event(id=str(number), source=f"/node/{node}", type="com.example.counted")


async def _append_many(store: PostgresStore, node: int, count: int, seed: int) -> list[int]:
    """Jobs of random sizes, several at once; the positions that were answered."""
    sizes, positions, number = random.Random(seed), [], 0
    while number < count:
        jobs = []
        for _ in range(sizes.randint(1, 8)):
            size = sizes.randint(1, 20)
            jobs.append(Append(events=[_event(node, number + place) for place in range(size)]))
            number += size
        for answers in await asyncio.gather(*(store.log.append(job) for job in jobs)):
            positions += [answer.position for answer in answers]
    return positions


async def _follow(store: PostgresStore, last: asyncio.Future[int]) -> list[int]:
    """Every position in the order in which a follower meets it, up to the last one once that is known."""
    seen: list[int] = []
    while not (last.done() and seen and seen[-1] >= last.result()):
        events = await store.log.read(seen[-1] if seen else 0, 500)
        seen += [logged.position for logged in events]
        if not events:
            await asyncio.sleep(0.002)
    return seen


async def test_followers_meet_every_position_once_and_in_order_while_three_nodes_append(
    open_node: Opener,
) -> None:
    nodes = [await open_node() for _ in range(3)]
    last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    followers = [asyncio.ensure_future(_follow(node, last)) for node in nodes]

    answered = await asyncio.gather(
        *(_append_many(node, place, 2000, seed=place) for place, node in enumerate(nodes))
    )
    total = sum(map(len, answered))
    last.set_result(total)
    async with asyncio.timeout(_PATIENCE):  # what others appended is heard of, or looked for within a second
        seen = await asyncio.gather(*followers)

    assert sorted(position for positions in answered for position in positions) == list(range(1, total + 1))
    head = max(node.log.head for node in nodes)
    assert head == total
    for positions in seen:
        assert positions == list(range(1, total + 1))


async def test_the_same_event_posted_to_two_nodes_at_once_is_logged_once(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    events = [_event(0, number) for number in range(200)]

    answers = await asyncio.gather(
        *(node.log.append(Append(events=[event])) for event in events for node in (one, two))
    )

    pairs = [(answers[place][0], answers[place + 1][0]) for place in range(0, len(answers), 2)]
    assert all(first.position == second.position for first, second in pairs)
    assert all(first.duplicate != second.duplicate for first, second in pairs)
    assert sorted(first.position for first, _ in pairs) == list(range(1, 201))


async def test_of_two_nodes_that_move_one_cursor_one_is_refused(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    for step in range(30):
        expected = None if step == 0 else str(step)
        move = CursorMove("topic/0", expected, str(step + 1))

        answers = await asyncio.gather(
            *(
                node.log.append(Append(events=[_event(place, step)], cursors=[move]))
                for place, node in enumerate((one, two))
            ),
            return_exceptions=True,
        )

        assert sorted(isinstance(answer, CursorMoved) for answer in answers) == [False, True]
    assert await one.ledger.cursor("topic/0") == "30"
    assert max(one.log.head, two.log.head) == 30


async def test_what_one_node_commits_wakes_the_others(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    heard = asyncio.Event()
    two.runs.new_runs.listen(heard.set)
    asked = asyncio.Event()
    two.runs.new_requests.listen(asked.set)
    run = NewRun(
        run_id="run-1",
        dag="orders",
        version="v1",
        trigger="t",
        position=1,
        event_source="/node/0",
        event_id="1",
        parameters=b"{}",
        queued_at=1,
        correlation_id="c",
        hop_count=0,
    )

    async with asyncio.timeout(_PATIENCE):
        await one.log.append(Append(events=[_event(0, 1)]))
        await two.log.wait_for_event(0)
        await one.runs.route(
            RouteBatch(
                expected=0,
                cursor=1,
                runs=[run],
                deliveries=[Delivery(subscription="audit", position=1)],
            )
        )
        await heard.wait()
        await two.outbox.wait_for_delivery("audit", 0)
        asked.clear()
        await one.runs.request("run-1", "cancel")
        await asked.wait()

    assert two.runs.new_runs.take() == ([], True)
    assert [one.run_id for one in await two.runs.queued("orders", after="", limit=5)] == ["run-1"]
    assert [request.run_id for request in await two.runs.requests()] == ["run-1"]


async def test_lost_notifications_delay_and_lose_nothing(
    open_node: Opener, postgres_server: PostgresServer
) -> None:
    one, two = await open_node(), await open_node()
    await asyncio.sleep(0)  # both listen by and by
    postgres_server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'", "postgres"
    )

    await one.log.append(Append(events=[_event(0, 1)]))

    await asyncio.wait_for(two.log.wait_for_event(0), _PATIENCE)


async def _append_through_losses(store: PostgresStore, node: int, count: int) -> int:
    """Append one by one, each again until it is answered; how often that was needed."""
    again = 0
    for number in range(count):
        while True:
            try:
                (answer,) = await store.log.append(Append(events=[_event(node, number)]))
            except StoreUnavailable:
                again += 1
                await asyncio.sleep(0.01)
            else:
                assert answer.position
                break
    return again


async def test_sessions_that_are_ended_again_and_again_lose_and_double_nothing(
    open_node: Opener, postgres_server: PostgresServer, postgres_url: str
) -> None:
    nodes = [await open_node(), await open_node()]
    name = postgres_url.rpartition("/")[2]
    work = [
        asyncio.ensure_future(_append_through_losses(node, place, 400)) for place, node in enumerate(nodes)
    ]

    while not all(task.done() for task in work):
        await asyncio.to_thread(
            postgres_server.run,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        await asyncio.sleep(0.05)
    repeated = sum(await asyncio.gather(*work))

    rows = await asyncio.to_thread(
        postgres_server.run,
        "SELECT count(*), count(DISTINCT (source, body)), max(position) FROM events",
        name,
    )
    assert rows == "800|800|800"
    assert repeated > 0


async def test_a_restarted_server_is_found_again(open_node: Opener, postgres_server: PostgresServer) -> None:
    store = await open_node()
    await store.log.append(Append(events=[_event(0, 0)]))

    await asyncio.to_thread(postgres_server.kill)
    with pytest.raises(StorageError):
        await store.log.append(Append(events=[_event(0, 1)]))
    await asyncio.to_thread(postgres_server.start)
    await _append_through_losses(store, 0, 3)

    assert store.log.head == 3
