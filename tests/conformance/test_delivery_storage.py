"""Subscriptions, delivery logs, dead letters and trees: what both databases keep of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.databases import DATABASES, Database, Faults, database_of
from tests.conformance.values import new_run

from tidemill.errors import CursorMoved, EventRejected, StorageError, StoreUnavailable
from tidemill.events.event import Event
from tidemill.storage.contract import (
    ActionKind,
    Append,
    DeadLetter,
    Delivery,
    DeliveryAttempt,
    DeliveryMark,
    DeliveryState,
    LetterAction,
    NewRun,
    RouteBatch,
    Store,
    SubscriptionState,
)
from tidemill.storage.outbox import ATTEMPTS_KEPT


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return database_of(request, tmp_path / "state" / "tidemill.db")


@pytest.fixture
def faults(database: Database) -> Faults:
    return database.faults


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    store = await database.open()
    yield store
    await store.close()


def event(number: int, **members: Any) -> Event:
    return Event(**{"id": str(number), "source": "/shop", "type": "order.placed", **members})


def change(number: int) -> Event:
    return event(number, source="/tidemill/subscriptions", type="dev.tidemill.subscription.changed.v1")


def letter(number: int, **members: Any) -> DeadLetter:
    given = {"at": number, "stage": "delivery", "code": "receiver_gone", "detail": "", "origin": "orders"}
    return DeadLetter(**{"id": f"letter-{number:03}", "body": b"{}", **given, **members})


def action(number: int, kind: ActionKind, **members: Any) -> LetterAction:
    return LetterAction(
        **{"letter": "letter-001", "number": number, "at": 5, "by": "ana", "kind": kind, **members}
    )


def attempt(number: int, **members: Any) -> DeliveryAttempt:
    given = {"position": number, "attempt": 1, "at": number, "duration_us": 10, "outcome": "delivered"}
    return DeliveryAttempt(**{"subscription": "orders", "number": number, **given, **members})


def run(number: int, correlation_id: str) -> NewRun:
    return new_run(
        f"run-{number}",
        dag="d",
        version="v",
        queued_at=10 + number,
        correlation_id=correlation_id,
        hop_count=number,
    )


# ── subscriptions ─────────────────────────────────────────────────────────────────────────────────────────


async def test_subscription_is_what_it_was_at_every_position(store: Store) -> None:
    first = await store.subscriptions.put("a", b"1", change(1))
    second = await store.subscriptions.put("b", b"2", change(2))
    third = await store.subscriptions.put("a", b"3", change(3))
    fourth = await store.subscriptions.put("b", None, change(4))

    async def at(position: int) -> dict[str, bytes]:
        return {one.id: one.body for one in await store.subscriptions.at(position)}

    assert [first, second, third, fourth] == [1, 2, 3, 4]
    assert await at(0) == {}
    assert await at(first) == {"a": b"1"}
    assert await at(second) == {"a": b"1", "b": b"2"}
    assert await at(third) == {"a": b"3", "b": b"2"}
    assert await at(fourth) == {"a": b"3"}
    assert await store.subscriptions.get("b") is None
    found = await store.subscriptions.get("a")
    assert found is not None
    assert (found.position, found.body) == (third, b"3")


@pytest.mark.parametrize(("point", "kept"), [("append.before_commit", False), ("append.after_commit", True)])
async def test_subscription_and_the_event_that_tells_of_it_are_one_commit(
    store: Store, faults: Faults, point: str, kept: bool
) -> None:
    faults.left[point] = 1
    with pytest.raises(StoreUnavailable):
        await store.subscriptions.put("a", b"1", change(1))

    async def both() -> tuple[bool, bool]:
        told = await store.log.find("/tidemill/subscriptions", "1")
        return told is not None, await store.subscriptions.get("a") is not None

    async with asyncio.timeout(10):
        while True:
            try:
                assert await both() == (kept, kept)
                break
            except StorageError:
                await asyncio.sleep(0.05)
    while True:  # asking again is safe, once the database answers again
        try:
            again = await store.subscriptions.put("a", b"1", change(1))
            break
        except StorageError:
            await asyncio.sleep(0.05)
    assert again == 1
    assert [one.position for one in await store.subscriptions.at(9)] == [1]


async def test_state_is_kept_and_followers_are_woken(store: Store) -> None:
    seen = store.subscriptions.version
    woken = asyncio.ensure_future(store.subscriptions.wait_for_change(seen))
    await store.subscriptions.set_state("a", SubscriptionState.PAUSED, reason="why", by="ana")
    async with asyncio.timeout(5):
        await woken
    await store.subscriptions.set_state("b", SubscriptionState.DISABLED, reason="gone", by="receiver")
    await store.subscriptions.set_state("a", SubscriptionState.ACTIVE, reason="", by="bob")

    states = await store.subscriptions.states()
    assert {name: (one.state.value, one.reason, one.by) for name, one in states.items()} == {
        "a": ("active", "", "bob"),
        "b": ("disabled", "gone", "receiver"),
    }


async def test_attempts_are_marked_with_the_delivery_and_only_the_last_are_kept(store: Store) -> None:
    many = ATTEMPTS_KEPT + 5
    for first in range(1, many + 1, 500):
        numbers = range(first, min(first + 500, many + 1))
        marks = [DeliveryMark("orders", n, DeliveryState.DELIVERED, 1) for n in numbers]
        await store.outbox.mark(marks, attempts=[attempt(n) for n in numbers])
    await store.outbox.mark(
        [DeliveryMark("orders", 9, DeliveryState.PENDING, 1)],
        attempts=[attempt(many + 1, outcome="failed", status=503, error="no\0pe")],
        disabled={"orders": "gone"},
    )

    newest = await store.subscriptions.attempts("orders", before=None, limit=2)
    assert [(one.number, one.outcome, one.status) for one in newest] == [
        (many + 1, "failed", 503),
        (many, "delivered", None),
    ]
    every = await store.subscriptions.attempts("orders", before=None, limit=5000)
    assert [one.number for one in every] == list(range(many + 1, 6, -1))
    assert await store.subscriptions.newest_attempt("orders") == many + 1
    assert await store.subscriptions.newest_attempt("others") == 0
    assert (await store.subscriptions.states())["orders"].state is SubscriptionState.DISABLED


async def test_backlog_counts_what_is_pending_and_names_the_oldest(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(1, 6)]))
    deliveries = [Delivery(subscription="orders", position=n) for n in range(1, 6)]
    await store.runs.route(RouteBatch(expected=0, cursor=5, deliveries=deliveries))
    await store.outbox.mark(
        [DeliveryMark("orders", n, DeliveryState.DELIVERED, 1) for n in (1, 2)],
        attempts=[attempt(1), attempt(2)],
    )

    backlog = await store.subscriptions.backlog("orders", limit=100)
    capped = await store.subscriptions.backlog("orders", limit=2)
    assert (backlog.pending, backlog.oldest_pending, backlog.newest_delivered) == (3, 3, 2)
    assert capped.pending == 2


async def test_deleted_subscriptions_have_what_is_pending_cancelled_in_the_routing_commit(
    store: Store,
) -> None:
    await store.log.append(Append(events=[event(1), event(2)]))
    deliveries = [Delivery(subscription=name, position=n) for name in ("a", "b") for n in (1, 2)]
    await store.runs.route(RouteBatch(expected=0, cursor=2, deliveries=deliveries, unsubscribed=["a"]))

    assert await store.outbox.due("a", after=0, limit=9) == []
    assert len(await store.outbox.due("b", after=0, limit=9)) == 2
    assert await store.outbox.list(1) == [
        ("a", DeliveryState.CANCELLED, 0, "the subscription was deleted"),
        ("b", DeliveryState.PENDING, 0, ""),
    ]


async def test_changes_that_nothing_is_matched_by_any_more_are_dropped(store: Store) -> None:
    for number, body in enumerate((b"1", b"2", b"3"), 1):
        await store.subscriptions.put("a", body, change(number))
    await store.subscriptions.put("b", b"1", change(4))
    await store.subscriptions.put("b", None, change(5))
    await store.runs.route(RouteBatch(expected=0, cursor=2))
    await store.subscriptions.put("c", b"1", change(6))

    async def at(position: int) -> dict[str, bytes]:
        return {one.id: one.body for one in await store.subscriptions.at(position)}

    assert await at(1) == {}  # nobody asks for what was before the router's place
    assert [await at(position) for position in (2, 3, 4, 6)] == [
        {"a": b"2"},
        {"a": b"3"},
        {"a": b"3", "b": b"1"},
        {"a": b"3", "c": b"1"},
    ]
    await store.runs.route(RouteBatch(expected=2, cursor=6))
    await store.subscriptions.put("d", b"1", change(7))
    assert [await at(position) for position in (3, 7)] == [
        {"a": b"3"},
        {"a": b"3", "c": b"1", "d": b"1"},
    ]


async def test_nothing_is_kept_of_a_deleted_subscription(store: Store) -> None:
    await store.subscriptions.put("a", b"1", change(1))
    await store.subscriptions.set_state("a", SubscriptionState.PAUSED, reason="", by="ana")
    await store.outbox.mark(
        [DeliveryMark("a", 1, DeliveryState.DELIVERED, 1)], attempts=[attempt(1, subscription="a")]
    )

    await store.subscriptions.put("a", None, change(2))

    assert await store.subscriptions.states() == {}
    assert await store.subscriptions.attempts("a", before=None, limit=9) == []


# ── dead letters ──────────────────────────────────────────────────────────────────────────────────────────


async def test_letters_are_listed_by_stage_state_code_and_origin(store: Store) -> None:
    await store.dead_letters.add(
        [letter(1), letter(2, code="attempts_exhausted"), letter(3, stage="kafka", origin="topics")]
    )
    await store.dead_letters.act(action(1, ActionKind.DISCARDED))

    async def ids(**where: Any) -> list[str]:
        given = {"stage": None, "before": None, "limit": 9, **where}
        return [one.id[-1] for one in await store.dead_letters.list(**given)]

    assert await ids() == ["3", "2", "1"]
    assert await ids(state="open") == ["3", "2"]
    assert await ids(state="discarded") == ["1"]
    assert await ids(stage="delivery", state="open") == ["2"]
    assert await ids(code="receiver_gone") == ["3", "1"]
    assert await ids(origin="topics") == ["3"]


async def test_edits_are_versions_and_the_original_stays(store: Store) -> None:
    await store.dead_letters.add([letter(1, body=b"\x00first")])
    await store.dead_letters.act(
        action(1, ActionKind.EDITED, body=b"second", detail={"patch": [1]}, reason="r")
    )
    await store.dead_letters.act(action(2, ActionKind.EDITED, body=b"third"))

    found = await store.dead_letters.get("letter-001")
    assert found is not None
    assert (found.body, found.state) == (b"\x00first", "open")
    assert await store.dead_letters.current("letter-001") == b"third"
    actions = await store.dead_letters.actions("letter-001")
    assert [(one.number, one.body) for one in actions] == [(1, b"second"), (2, b"third")]
    assert (actions[0].detail, actions[0].reason, actions[0].by) == ({"patch": [1]}, "r", "ana")
    assert await store.dead_letters.current("letter-404") is None


async def test_of_two_who_act_at_once_one_is_refused_and_nothing_of_it_is_done(store: Store) -> None:
    await store.dead_letters.add([letter(1)])

    answers = await asyncio.gather(
        *(store.dead_letters.act(action(1, ActionKind.REDRIVEN), append=event(n)) for n in range(4)),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, CursorMoved) for answer in answers) == 3
    assert store.log.head == 1
    assert len(await store.dead_letters.actions("letter-001")) == 1


async def test_redrive_of_an_identity_that_was_used_changes_nothing(store: Store) -> None:
    await store.log.append(Append(events=[event(1, data=1)]))
    await store.dead_letters.add([letter(1)])

    with pytest.raises(EventRejected) as refused:
        await store.dead_letters.act(action(1, ActionKind.REDRIVEN), append=event(1, data=2))

    assert refused.value.code == "id_reused"
    found = await store.dead_letters.get("letter-001")
    assert found is not None
    assert found.state == "open"
    assert list(await store.dead_letters.actions("letter-001")) == []


@pytest.mark.parametrize(
    ("point", "done"), [("statement.before_commit", False), ("statement.after_commit", True)]
)
async def test_redelivery_and_its_action_are_one_commit(
    store: Store, faults: Faults, point: str, done: bool
) -> None:
    await store.log.append(Append(events=[event(1)]))
    await store.runs.route(
        RouteBatch(expected=0, cursor=1, deliveries=[Delivery(subscription="orders", position=1)])
    )
    given_up = DeliveryMark("orders", 1, DeliveryState.DEAD_LETTERED, 10, detail="gone")
    await store.outbox.mark([given_up], [letter(1, position=1)])
    faults.left[point] = 1
    with pytest.raises(StoreUnavailable):
        await store.dead_letters.act(action(1, ActionKind.REDRIVEN), deliver=("orders", 1))

    async def read() -> tuple[int, int, int]:
        due = await store.outbox.due("orders", after=0, limit=9)
        states = await store.subscriptions.states()
        redriven = states["orders"].redriven if "orders" in states else 0
        return len(due), len(await store.dead_letters.actions("letter-001")), redriven

    async with asyncio.timeout(10):
        while True:
            try:
                assert await read() == ((1, 1, 1) if done else (0, 0, 0))
                break
            except StorageError:
                await asyncio.sleep(0.05)


async def test_redelivered_delivery_begins_anew_and_names_its_letter(store: Store) -> None:
    await store.dead_letters.add([letter(1, position=7)])

    await store.dead_letters.act(action(1, ActionKind.REDRIVEN), deliver=("orders", 7))

    (due,) = await store.outbox.due("orders", after=0, limit=9)
    assert (due.position, due.attempts, due.letter) == (7, 0, "letter-001")


# ── trees ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tree_is_open_until_every_run_of_it_was_routed(store: Store) -> None:
    await store.log.append(Append(events=[event(1)]))
    runs = [run(1, "c"), run(2, "c"), run(3, "other")]
    pairs = [(one.correlation_id, one.run_id) for one in runs]
    await store.runs.route(RouteBatch(expected=0, cursor=1, runs=runs, tree_runs=pairs))
    assert await store.trees.is_open("c")

    await store.runs.route(RouteBatch(expected=1, cursor=2, tree_ends=pairs[:1]))
    assert await store.trees.is_open("c")
    assert await store.trees.ended() == []
    await store.runs.route(RouteBatch(expected=2, cursor=3, tree_ends=pairs[1:2]))
    assert not await store.trees.is_open("c")
    assert await store.trees.ended() == ["c"]
    summary = await store.trees.summary("c")
    assert summary is not None
    assert (summary.runs, summary.position, summary.hop_count, summary.queued_at) == ({"queued": 2}, 1, 2, 11)


async def test_end_of_a_tree_is_told_in_the_commit_that_forgets_it(store: Store) -> None:
    await store.log.append(Append(events=[event(1)]))
    one = run(1, "c")
    pairs = [("c", one.run_id)]
    await store.runs.route(RouteBatch(expected=0, cursor=1, runs=[one], tree_runs=pairs, tree_ends=pairs))

    with pytest.raises(CursorMoved):
        await store.trees.end("c", event(2), cursor=7)
    assert store.log.head == 1
    assert await store.trees.ended() == ["c"]
    await store.trees.end("c", event(2), cursor=1)

    assert store.log.head == 2
    assert await store.trees.ended() == []
    assert await store.trees.summary("c") is None


async def test_runs_that_are_open_are_known_when_trees_begin_to_be_followed(store: Store) -> None:
    await store.log.append(Append(events=[event(1)]))
    await store.runs.route(RouteBatch(expected=0, cursor=1, runs=[run(1, "c")]))
    assert await store.trees.summary("c") is None

    await store.trees.begin()
    await store.trees.begin()

    assert await store.trees.is_open("c")


async def test_mark_that_comes_late_does_not_take_back_a_delivery_that_another_node_made(
    store: Store,
) -> None:
    await store.log.append(Append(events=[Event(id="late", source="/s", type="t")]))
    position = store.log.head
    delivery = Delivery(subscription="orders", position=position, due_at=1)
    await store.runs.route(RouteBatch(expected=0, cursor=position, deliveries=[delivery]))
    await store.outbox.mark([DeliveryMark("orders", position, DeliveryState.DELIVERED, 1)])

    await store.outbox.mark([DeliveryMark("orders", position, DeliveryState.PENDING, 1, due_at=2)])

    assert await store.outbox.due("orders", after=0, limit=10) == []
