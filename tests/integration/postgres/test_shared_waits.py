"""Waits that begin on one node while another one routes: whatever the order, no event is lost between them."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.postgres.conftest import Opener

from tidemill.events.event import Event
from tidemill.storage.contract import Append, NewRun, Recorded, RouteBatch, RunEnd, Wait, WaitChanges

pytestmark = pytest.mark.postgres

_ROUNDS = 60
_PATIENCE = 20


def _run(number: int) -> NewRun:
    return NewRun(
        run_id=f"run-{number:03}",
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
    )


async def test_an_event_is_told_or_has_to_be_read_whoever_commits_first(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    await one.waits.keep_patterns({"p": b"{}"})
    version, _ = await two.waits.patterns()
    runs = [_run(number) for number in range(_ROUNDS)]
    await two.runs.route(RouteBatch(expected=0, cursor=0, runs=runs, patterns=version))
    read = told = 0

    for number, run in enumerate(runs):
        (answer,) = await one.log.append(Append(events=[Event(id=str(number), source="/s", type="t")]))
        position, key = answer.position, f"k{number}"
        wait = Wait("w", "event", 0, pattern="p", key=key, since=position - 1)
        row = Recorded(run.run_id, 0, 5, b"[]", RunEnd("waiting", 1), waits=WaitChanges(begun=[wait]))
        batch = RouteBatch(expected=position - 1, cursor=position, waits=[(key, position)], patterns=version)
        works = [one.runs.record([row]), two.runs.route(batch)]
        await asyncio.gather(*(works if number % 2 else reversed(works)))

        hits = [one_ for one_ in await one.waits.hit(limit=100) if one_.run_id == run.run_id]
        unread = [one_ for one_ in await one.waits.unread(limit=100) if one_.run_id == run.run_id]
        if unread:
            assert unread[0].since < position <= unread[0].routed
            read += 1
        else:
            assert [hit.position for hit in hits] == [position]
            told += 1

    assert read + told == _ROUNDS


async def test_the_node_of_a_run_hears_of_its_event_from_the_one_that_routes(open_node: Opener) -> None:
    one, two = await open_node(), await open_node()
    heard = asyncio.Event()
    one.waits.hits.listen(heard.set)
    await one.waits.keep_patterns({"p": b"{}"})
    version, _ = await two.waits.patterns()
    await two.runs.route(RouteBatch(expected=0, cursor=0, runs=[_run(1)], patterns=version))
    await one.log.append(Append(events=[Event(id="1", source="/s", type="t")]))
    wait = Wait("w", "event", 0, pattern="p", key="k", since=0)
    await one.runs.record([Recorded("run-001", 0, 5, b"[]", waits=WaitChanges(begun=[wait]))])

    async with asyncio.timeout(_PATIENCE):
        await two.runs.route(RouteBatch(expected=0, cursor=1, waits=[("k", 1)], patterns=version))
        await heard.wait()

    assert [hit.run_id for hit in await one.waits.hit(limit=5)] == ["run-001"]
