"""What every store must do about waits and approvals (see `Waits`, `Approvals`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.conformance.values import new_run

from tidemill import approval, dag, sleep, task, wait_for_event
from tidemill.clock import SystemClock
from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.storage.contract import (
    Append,
    ApprovalState,
    Asked,
    HitWait,
    Recorded,
    RouteBatch,
    RunEnd,
    SaidDecision,
    Store,
    Wait,
    WaitChanges,
)
from tidemill.testing.harness import Harness


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        await store.waits.keep_patterns({"p": b"{}"})
        yield store


async def append(store: Store, count: int) -> None:
    head = store.log.head
    events = [Event(id=f"{head}-{number}", source="/s", type="t") for number in range(count)]
    await store.log.append(Append(events=events))


async def route(store: Store, *runs: str, to: int = 0, waits: list[tuple[str, int]] | None = None) -> None:
    version, _ = await store.waits.patterns()
    at = store.log.routed
    made = [new_run(run, position=0) for run in runs]
    batch = RouteBatch(expected=at, cursor=max(at, to), runs=made, waits=waits or [], patterns=version)
    await store.runs.route(batch)


async def begin(store: Store, run: str, *waits: Wait, at: int = 5) -> None:
    row = Recorded(run, 0, at, b"[]", RunEnd("waiting", 1), waits=WaitChanges(begun=waits))
    await store.runs.record([row])


async def test_patterns_are_kept_once_and_their_version_tells_of_new_ones(store: Store) -> None:
    before, _ = await store.waits.patterns()

    await store.waits.keep_patterns({"p": b"{}"})
    same, _ = await store.waits.patterns()
    await store.waits.keep_patterns({"p": b"{}", "q": b"[]"})

    version, found = await store.waits.patterns()
    assert same == before != version
    assert found == {"p": b"{}", "q": b"[]"}


async def test_patterns_that_nobody_waits_for_are_forgotten_but_for_some(store: Store) -> None:
    await store.waits.keep_patterns({"q": b"[]", "r": b"[]", "s": b"[]"})
    await append(store, 1)
    await route(store, "run", to=1)
    await begin(store, "run", Wait("w", "event", 0, pattern="q", key="k", since=1))

    forgotten = await store.waits.forget_patterns(but=["r"])

    assert forgotten == 2
    assert (await store.waits.patterns())[1] == {"q": b"[]", "r": b"[]"}
    assert await store.waits.forget_patterns(but=["r"]) == 0


async def test_events_that_were_compared_with_older_patterns_are_not_routed(store: Store) -> None:
    version, _ = await store.waits.patterns()
    await append(store, 1)
    await store.waits.keep_patterns({"q": b"[]"})

    with pytest.raises(CursorMoved, match="wait_patterns"):
        await store.runs.route(RouteBatch(expected=0, cursor=1, patterns=version))

    assert store.log.routed == 0


async def test_an_event_that_is_routed_after_a_wait_began_hits_it(store: Store) -> None:
    await append(store, 3)
    await route(store, "r1", "r2")
    await begin(store, "r1", Wait("w", "event", 0, pattern="p", key="k", since=1))
    await begin(store, "r2", Wait("w", "event", 0, pattern="p", key="k", since=3))

    await route(store, to=3, waits=[("k", 1), ("k", 2), ("other", 2), ("k", 3)])

    found = await store.waits.hit(limit=10)
    assert found[0] == HitWait("r1", "w", 2)
    assert {row.run_id for row in found} == {"r1"}


async def test_what_was_routed_before_a_wait_was_on_disk_has_to_be_read_first(store: Store) -> None:
    await append(store, 4)
    await route(store, "r", to=3)
    await begin(store, "r", Wait("w", "event", 0, pattern="p", key="k", since=1))
    await route(store, to=4, waits=[("k", 4)])

    (unread,) = await store.waits.unread(limit=10)
    hidden = await store.waits.hit(limit=10)
    await store.waits.have_read([unread])

    assert (unread.since, unread.routed, unread.key) == (1, 3, "k")
    assert hidden == []
    assert await store.waits.hit(limit=10) == [HitWait("r", "w", 4)]
    assert await store.waits.unread(limit=10) == []


async def test_hits_are_forgotten_when_nobody_waits_for_them(store: Store) -> None:
    await append(store, 2)
    await route(store, "r")
    await begin(store, "r", Wait("w", "event", 0, pattern="p", key="k", since=0))
    await route(store, to=2, waits=[("k", 1), ("k", 2)])

    await store.waits.forget_hits()
    kept = len(await store.waits.hit(limit=10))
    await store.runs.record([Recorded("r", 1, 6, b"[]", waits=WaitChanges(ended=["w"]))])
    await store.waits.forget_hits()
    await begin_again(store)

    assert kept == 2
    assert await store.waits.hit(limit=10) == []


async def begin_again(store: Store) -> None:
    """A wait for the same key, from the beginning on."""
    row = Recorded("r", 2, 7, b"[]", waits=WaitChanges(begun=[Wait("x", "event", 0, pattern="p", key="k")]))
    await store.runs.record([row])
    await store.waits.have_read(await store.waits.unread(limit=10))


async def test_due_waits_come_page_by_page_in_the_order_of_their_times(store: Store) -> None:
    await route(store, *(f"r{number}" for number in range(5)))
    for number in range(5):
        await begin(store, f"r{number}", Wait("w", "sleep", number % 2, due_at=10 if number < 3 else 20))

    first = await store.waits.due(15, after=(-1, "", ""), limit=2)
    rest = await store.waits.due(15, after=(first[-1].due_at, first[-1].run_id, "w"), limit=2)

    assert [row.run_id for row in first + rest] == ["r0", "r1", "r2"]
    assert await store.waits.first_due() == 10
    assert await store.waits.first_due(after=10) == 20
    assert await store.waits.first_due({7}) is None
    assert [row.run_id for row in await store.waits.due(30, after=(-1, "", ""), limit=9, shards={1})] == [
        "r1",
        "r3",
    ]


async def test_runs_that_only_wait_are_not_read_back_and_are_found_by_id(store: Store) -> None:
    await route(store, "r1", "r2")
    await begin(store, "r1", Wait("w", "sleep", 0, due_at=10))
    await store.runs.record([Recorded("r2", 0, 5, b"[]", RunEnd("running", 1))])

    assert [run.run_id for run in await store.runs.live(after="", limit=10)] == ["r2"]
    assert [run.run_id for run in await store.waits.parked({"r1", "r2"})] == ["r1"]
    assert await store.waits.parked_count() == 1
    assert await store.waits.parked_count("orders") == 1
    assert await store.waits.parked_count("other") == 0
    assert await store.waits.counts() == {"sleep": 1}


async def test_waits_end_with_their_run(store: Store) -> None:
    await route(store, "r")
    await ask(store)

    over = Recorded("r", 1, 9, b"[]", RunEnd("cancelled", 1, 9), waits=WaitChanges(is_over=True))
    await store.runs.record([over])

    assert await store.waits.counts() == {}
    approval = await store.approvals.get("a")
    assert approval is not None
    assert (approval.state, approval.ended_at) == (ApprovalState.CANCELLED, 9)


async def ask(store: Store, *, quorum: int = 1) -> None:
    """An approval `a` of run `r`, open."""
    asked = Asked("a", "orders", "Publish?", b'{"type":"object"}', ["ann", "bob"], quorum, 5)
    await begin(store, "r", Wait("w", "approval", 0, due_at=100, asked=asked))


def said(by: str, decision: str = "approve", at: int = 50) -> SaidDecision:
    return SaidDecision(by, decision, at, "api", b'{"x":1}')


async def test_an_approval_ends_when_enough_people_approved_and_each_counts_once(store: Store) -> None:
    await route(store, "r")
    await ask(store, quorum=2)

    people = [said("ann"), said("ann"), said("bob", at=51), said("cid", at=52)]
    answers = [await store.approvals.decide("a", one) for one in people]

    approval = await store.approvals.get("a")
    assert approval is not None
    assert answers == [True, True, True, False]  # the same words again are the same decision
    assert approval.state is ApprovalState.APPROVED
    assert [one.by for one in await store.approvals.decisions("a")] == ["ann", "bob"]
    assert [request.kind for request in await store.runs.requests()] == ["approval"]


async def test_a_second_decision_of_a_person_changes_nothing(store: Store) -> None:
    await route(store, "r")
    await ask(store, quorum=2)
    await store.approvals.decide("a", said("ann"))

    assert not await store.approvals.decide("a", said("ann", "reject", at=51))

    approval = await store.approvals.get("a")
    assert approval is not None
    assert approval.state is ApprovalState.OPEN


async def test_of_many_who_decide_at_once_one_ends_it(store: Store) -> None:
    await route(store, "r")
    await ask(store)

    people = [
        said(f"p{number}", "reject" if number % 2 else "approve", at=50 + number) for number in range(8)
    ]
    await asyncio.gather(*(store.approvals.decide("a", one) for one in people))
    await store.approvals.time_out([("r", "w")])

    approval = await store.approvals.get("a")
    assert approval is not None
    assert approval.state in (ApprovalState.APPROVED, ApprovalState.REJECTED)
    assert len(await store.runs.requests()) == 1


async def test_an_approval_whose_time_is_up_cannot_be_decided(store: Store) -> None:
    await route(store, "r")
    await ask(store)

    await store.approvals.time_out([("r", "w"), ("r", "other")])

    assert not await store.approvals.decide("a", said("ann"))
    assert [run.state for run in await store.approvals.list(state=None, run="r", before=None, limit=5)] == [
        ApprovalState.TIMED_OUT
    ]
    assert await store.approvals.list(state="open", run=None, before=None, limit=5) == []
    assert len(await store.runs.requests()) == 1


async def test_the_secret_of_callbacks_is_made_once(store: Store) -> None:
    first, second = await store.approvals.secret(), await store.approvals.secret()

    assert first == second
    assert len(first) == 32


# ── a whole project on either database ──


@task
async def order(number: int) -> dict[str, int]:
    return {"id": number}


@dag
def waits_for_all(number: int) -> Any:
    known = order(number)
    paid = wait_for_event({"type": ["paid"]}, match={"data.id": known["id"]}, task_id="paid")
    news = wait_for_event({"type": ["news"]}, lookback=600, timeout=60, task_id="news")
    asked = approval("ok?", assignees=["ann"], task_id="asked")
    paid >> sleep(30, task_id="nap") >> asked
    return [paid["id"], news["id"], asked["by"]]


@pytest.mark.parametrize("database", DATABASES)
async def test_a_run_that_waits_for_everything_ends_on_either_database(
    request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else None
    async with Harness(dags=[waits_for_all], database_url=url) as harness:
        await harness.send(type="news", id="n1")
        runs = [await harness.start("waits_for_all", number=number) for number in range(3)]
        await harness.run_until_idle()
        assert harness.live_runs == 0
        await harness.send(type="paid", id="p", data={"id": 1})
        await harness.run_until_idle()
        await harness.kill()
        await harness.restart()

        await harness.advance(30)
        (asked,) = await harness.store.approvals.list(state="open", run=None, before=None, limit=5)
        assert await harness.store.approvals.decide(asked.id, SaidDecision("ann", "approve", 9, "api", b"{}"))
        await harness.run_until_idle()

        found = [await harness.run(run) for run in runs]
        assert [view.state for view in found] == ["waiting", "succeeded", "waiting"]
        (event,) = await harness.events(type="dev.tidemill.run.succeeded.v1")
        assert event.data["result"] == ["p", "n1", ["ann"]]
