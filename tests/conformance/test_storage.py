"""What every store must do, whatever database is behind it (see `tidemill.storage.contract`)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.databases import DATABASES, Database, Faults, database_of
from tests.conformance.values import new_run

from tidemill.clock import SystemClock
from tidemill.errors import CursorMoved, EventRejected, ProjectLocked, StorageError, StoreUnavailable
from tidemill.events.event import Event
from tidemill.storage.contract import (
    Append,
    CursorMove,
    DeadLetter,
    Delivery,
    DeliveryMark,
    DeliveryState,
    Disposition,
    DispositionKind,
    EventFilter,
    FileVersion,
    NewRun,
    Recorded,
    RouteBatch,
    RunEnd,
    RunFilter,
    Store,
)
from tidemill.storage.sqlite import open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tidemill.db"


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Database:
    return database_of(request, request.getfixturevalue("path"))


@pytest.fixture
def faults(database: Database) -> Faults:
    return database.faults


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    store = await database.open()
    yield store
    await store.close()


def event(number: int, *, data: object = None, source: str = "/shop", kind: str = "placed") -> Event:
    return Event(id=str(number), source=source, type=f"com.example.{kind}", subject=f"s{number}", data=data)


def run(number: int, *, dag: str = "orders", position: int = 1) -> NewRun:
    return new_run(f"run-{number:04}", dag=dag, position=position, queued_at=1000 + number)


async def test_log_gives_positions_that_rise_by_one(store: Store) -> None:
    jobs = [store.log.append(Append(events=[event(n), event(n + 100)])) for n in range(20)]

    answers = await asyncio.gather(*jobs)

    positions = [answer.position for pair in answers for answer in pair]
    assert positions == list(range(1, 41))
    assert store.log.head == 40


async def test_log_answers_a_duplicate_with_the_first_position(store: Store) -> None:
    first = await store.log.append(Append(events=[event(1, data={"a": 1, "b": 2})]))

    again = await store.log.append(Append(events=[event(1, data={"b": 2, "a": 1}), event(2)]))

    assert [answer.position for answer in again] == [first[0].position, 2]
    assert [answer.duplicate for answer in again] == [True, False]


async def test_log_finds_duplicates_within_one_commit(store: Store) -> None:
    answers = await asyncio.gather(*(store.log.append(Append(events=[event(1)])) for _ in range(10)))

    assert {answer.position for (answer,) in answers} == {1}
    assert sum(answer.duplicate for (answer,) in answers) == 9
    assert store.log.head == 1


async def test_log_refuses_a_reused_identity_and_stores_nothing_of_the_job(store: Store) -> None:
    await store.log.append(Append(events=[event(1, data="first")]))

    with pytest.raises(EventRejected) as refused:
        await store.log.append(Append(events=[event(2), event(1, data="other")]))

    assert (refused.value.code, refused.value.index) == ("id_reused", 1)
    assert store.log.head == 1
    assert await store.log.find("/shop", "2") is None


async def test_log_keeps_a_reused_identity_as_a_dead_letter_when_asked_to(store: Store) -> None:
    await store.log.append(Append(events=[event(1, data="first")]))

    job = Append(events=[event(1, data="other"), event(2)], refuse_reuse=False, stage="kafka", origin="topic")
    answers = await store.log.append(job)

    (letter,) = await store.dead_letters.list(stage="kafka", before=None, limit=10)
    assert [answer.position for answer in answers] == [0, 2]
    assert (letter.code, letter.origin, letter.coordinates["id"]) == ("id_reused", "topic", "1")
    assert b'"other"' in letter.body


async def test_log_commits_events_cursors_files_and_dead_letters_together(store: Store) -> None:
    version = FileVersion("inbox", "a.csv", 7, 10, 99, "digest")
    letter = DeadLetter(
        id="l1", at=5, stage="files", code="invalid_json", detail="d", origin="inbox", body=b"\xff"
    )

    await store.log.append(
        Append(
            events=[event(1)], cursors=[CursorMove("k/0", None, "5")], files=[version], dead_letters=[letter]
        )
    )

    assert await store.ledger.cursor("k/0") == "5"
    assert await store.ledger.cursors("k/") == {"k/0": "5"}
    assert [known async for known in store.ledger.files("inbox")] == [version]
    assert (await store.dead_letters.get("l1")) == letter


async def test_log_refuses_a_cursor_that_was_moved_by_another(store: Store) -> None:
    await store.log.append(Append(cursors=[CursorMove("k/0", None, "5")]))

    with pytest.raises(CursorMoved) as refused:
        await store.log.append(Append(events=[event(1)], cursors=[CursorMove("k/0", "4", "9")]))

    assert (refused.value.expected, refused.value.found) == ("4", "5")
    assert store.log.head == 0
    assert await store.ledger.cursor("k/0") == "5"


async def test_log_compares_cursors_of_jobs_in_one_commit_in_order(store: Store) -> None:
    jobs = [
        store.log.append(
            Append(events=[event(n)], cursors=[CursorMove("k", None if n == 0 else str(n), str(n + 1))])
        )
        for n in range(5)
    ]
    stale = store.log.append(Append(events=[event(99)], cursors=[CursorMove("k", "2", "3")]))

    *_, last = await asyncio.gather(*jobs, stale, return_exceptions=True)

    assert isinstance(last, CursorMoved)
    assert await store.ledger.cursor("k") == "5"
    assert await store.log.find("/shop", "99") is None


async def test_log_announces_a_file_version_once(store: Store) -> None:
    version = FileVersion("inbox", "a.csv", 7, 10, 99, "digest")

    await asyncio.gather(*(store.log.append(Append(files=[version])) for _ in range(3)))

    assert [known async for known in store.ledger.files("inbox")] == [version]


async def test_log_reads_in_order_from_any_position(store: Store) -> None:
    await store.log.append(Append(events=[event(n, data={"n": n}) for n in range(30)]))

    read = await store.log.read(10, 5)

    assert [logged.position for logged in read] == [11, 12, 13, 14, 15]
    assert [logged.event.data["n"] for logged in read] == [10, 11, 12, 13, 14]
    assert await store.log.read(30, 5) == []


async def test_log_reads_back_what_memory_no_longer_holds(database: Database) -> None:
    store = await database.open()
    await store.log.append(Append(events=[event(n, data=b"\x00\xff") for n in range(3)]))
    await store.close()

    store = await database.open()
    read = await store.log.read(0, 10)
    await store.close()

    assert [logged.event for logged in read] == [event(n, data=b"\x00\xff") for n in range(3)]
    assert [logged.position for logged in read] == [1, 2, 3]


async def test_log_lists_newest_first_by_filter(store: Store) -> None:
    await store.log.append(Append(events=[event(n, kind="placed" if n % 2 else "paid") for n in range(10)]))

    placed = await store.log.list(EventFilter(type="com.example.placed"), before=None, limit=2)
    older = await store.log.list(EventFilter(type="com.example.placed"), before=placed[-1].position, limit=9)
    one = await store.log.list(EventFilter(source="/shop", id="4", subject="s4"), before=None, limit=9)

    assert [logged.event.id for logged in placed + older] == ["9", "7", "5", "3", "1"]
    assert [logged.event.id for logged in one] == ["4"]


async def test_log_wakes_those_who_wait_for_an_event(store: Store) -> None:
    waiting = asyncio.ensure_future(store.log.wait_for_event(0))
    await asyncio.sleep(0)
    assert not waiting.done()

    await store.log.append(Append(events=[event(1)]))

    await asyncio.wait_for(waiting, 5)


async def test_a_failed_commit_is_an_error_and_leaves_nothing(store: Store, faults: Faults) -> None:
    faults.left["append.before_commit"] = 1

    with pytest.raises(StoreUnavailable):
        await store.log.append(Append(events=[event(1)], cursors=[CursorMove("k", None, "1")]))

    assert store.log.head == 0
    assert await store.ledger.cursor("k") is None
    (answer,) = await store.log.append(Append(events=[event(1)], cursors=[CursorMove("k", None, "1")]))
    assert (answer.position, answer.duplicate) == (1, False)


async def test_a_lost_answer_is_an_error_and_asking_again_is_safe(store: Store, faults: Faults) -> None:
    faults.left["append.after_commit"] = 1
    with pytest.raises(StoreUnavailable):
        await store.log.append(Append(events=[event(1)]))

    (again,) = await store.log.append(Append(events=[event(1)]))
    (following,) = await store.log.append(Append(events=[event(2)]))

    assert (again.position, again.duplicate) == (1, True)
    assert following.position == 2
    assert [logged.position for logged in await store.log.read(0, 9)] == [1, 2]


async def test_routing_commits_runs_dispositions_deliveries_and_cursor_together(store: Store) -> None:
    await store.log.append(Append(events=[event(1)]))
    heard: list[None] = []
    store.runs.new_runs.listen(lambda: heard.append(None))

    await store.runs.route(
        RouteBatch(
            expected=0,
            cursor=1,
            dispositions=[Disposition(1, "t", DispositionKind.RUN, "run-0001")],
            runs=[run(1)],
            deliveries=[Delivery(subscription="audit", position=1, due_at=3)],
        )
    )

    assert store.log.routed == 1
    assert heard
    assert store.runs.new_runs.take() == ([run(1)], False)
    assert await store.runs.dispositions(1) == [Disposition(1, "t", DispositionKind.RUN, "run-0001")]
    summary = await store.runs.get("run-0001")
    assert summary is not None
    assert (summary.state, summary.dag, summary.queued_at) == ("queued", "orders", 1001)
    assert await store.outbox.due("audit", after=0, limit=9) == [
        Delivery(subscription="audit", position=1, due_at=3)
    ]


async def test_routing_refuses_a_batch_from_a_stale_cursor(store: Store) -> None:
    await store.runs.route(RouteBatch(expected=0, cursor=4))

    with pytest.raises(CursorMoved):
        await store.runs.route(RouteBatch(expected=0, cursor=2, runs=[run(1)]))

    assert store.log.routed == 4
    assert await store.runs.get("run-0001") is None


async def test_records_append_history_summary_and_completion_together(store: Store) -> None:
    await store.runs.route(RouteBatch(expected=0, cursor=0, runs=[run(1), run(2)]))

    await store.runs.record(
        [
            Recorded("run-0001", 0, 50, b"[1]", RunEnd("running", 50)),
            Recorded("run-0002", 0, 51, b"[2]", RunEnd("running", 51)),
        ]
    )
    done = event(9, kind="done")
    await store.runs.record([Recorded("run-0001", 1, 60, b"[3]", RunEnd("succeeded", 50, 60), (done,))])

    summary = await store.runs.get("run-0001")
    assert summary is not None
    assert (summary.state, summary.started_at, summary.ended_at) == ("succeeded", 50, 60)
    assert await store.runs.history("run-0001") == [(0, 50, b"[1]"), (1, 60, b"[3]")]
    assert [logged.event for logged in await store.log.read(0, 9)] == [done]
    assert [live.run_id for live in await store.runs.live(after="", limit=9)] == ["run-0002"]


async def test_histories_of_several_runs_are_read_at_once_and_each_in_order(store: Store) -> None:
    await store.runs.route(RouteBatch(expected=0, cursor=0, runs=[run(number) for number in range(1, 5)]))
    for sequence in range(3):
        await store.runs.record(
            [Recorded(f"run-000{number}", sequence, 50 + sequence, b"[%d]" % number) for number in (2, 1, 4)]
        )

    asked = ["run-0002", "run-0001", "run-0003", "nobody"]
    histories = await store.runs.histories(asked)

    assert histories.keys() == set(asked)
    assert [histories[run_id] for run_id in asked] == [await store.runs.history(run_id) for run_id in asked]
    assert [row[0] for row in histories["run-0001"]] == [0, 1, 2]
    assert histories["run-0003"] == histories["nobody"] == []
    assert await store.runs.histories([]) == {}


async def test_runs_that_have_not_ended_are_counted_by_shard_and_state(store: Store) -> None:
    shards = (7, 7, 9, 250, 250)
    runs = [replace(run(number), shard=shard) for number, shard in enumerate(shards, 1)]
    await store.runs.route(RouteBatch(expected=0, cursor=0, runs=runs))
    await store.runs.record(
        [
            Recorded("run-0001", 0, 50, b"[]", RunEnd("running", 50)),
            Recorded("run-0004", 0, 50, b"[]", RunEnd("succeeded", 50, 51)),
        ]
    )

    assert await store.runs.open_counts() == {
        (7, "running"): 1,
        (7, "queued"): 1,
        (9, "queued"): 1,
        (250, "queued"): 1,
    }
    assert await store.runs.open_counts(frozenset({9, 10})) == {(9, "queued"): 1}
    assert await store.runs.open_counts(frozenset()) == {}


async def test_records_of_one_sequence_number_are_written_once(store: Store) -> None:
    await store.runs.route(RouteBatch(expected=0, cursor=0, runs=[run(1), run(2)]))
    await store.runs.record([Recorded("run-0001", 0, 50, b"[1]")])

    second = store.runs.record([Recorded("run-0001", 0, 51, b"[9]", None, (event(1),))])
    other = store.runs.record([Recorded("run-0002", 0, 51, b"[2]")])
    refused, accepted = await asyncio.gather(second, other, return_exceptions=True)

    assert isinstance(refused, CursorMoved)
    assert accepted is None
    assert await store.runs.history("run-0001") == [(0, 50, b"[1]")]
    assert await store.runs.history("run-0002") == [(0, 51, b"[2]")]
    assert store.log.head == 0


async def test_records_of_an_unknown_run_are_refused(store: Store) -> None:
    with pytest.raises(StorageError):
        await store.runs.record([Recorded("nobody", 0, 1, b"[]")])


async def test_queued_runs_are_listed_oldest_first_until_they_start(store: Store) -> None:
    await store.runs.route(
        RouteBatch(expected=0, cursor=0, runs=[run(n) for n in (3, 1, 2)] + [run(9, dag="b")])
    )
    await store.runs.record([Recorded("run-0001", 0, 1, b"[]", RunEnd("running", 1))])

    queued = await store.runs.queued("orders", after="", limit=9)

    assert [one.run_id for one in queued] == ["run-0002", "run-0003"]
    assert sorted(await store.runs.queued_dags()) == ["b", "orders"]
    assert await store.runs.counts() == {
        ("orders", "running"): 1,
        ("orders", "queued"): 2,
        ("b", "queued"): 1,
    }
    newest = await store.runs.list(RunFilter(dag="orders"), before=None, limit=2)
    assert [one.run_id for one in newest] == ["run-0003", "run-0002"]
    rest = await store.runs.list(RunFilter(state="running"), before="run-0002", limit=9)
    assert [one.run_id for one in rest] == ["run-0001"]


async def test_requests_wait_until_they_are_answered(store: Store) -> None:
    woken: list[None] = []
    store.runs.new_requests.listen(lambda: woken.append(None))

    await store.runs.request("run-0001", "cancel", by="ann")
    (request,) = await store.runs.requests()
    await store.runs.answer([request.id])

    assert (request.run_id, request.kind, request.by) == ("run-0001", "cancel", "ann")
    assert woken
    assert await store.runs.requests() == []


async def test_versions_are_kept_once(store: Store) -> None:
    await store.runs.save_version("orders", "v1", "workflows/a.py", "text", b"[]")
    await store.runs.save_version("orders", "v1", "workflows/b.py", "other", b"[]")

    assert await store.runs.version("orders", "v1") == ("workflows/a.py", "text", b"[]")
    assert await store.runs.version("orders", "v2") is None


async def test_deliveries_are_due_until_they_are_marked(store: Store) -> None:
    deliveries = [Delivery(subscription="audit", position=n) for n in (1, 2, 3)]
    await store.runs.route(RouteBatch(expected=0, cursor=3, deliveries=deliveries))
    await asyncio.wait_for(store.outbox.wait_for_delivery("audit", 2), 5)
    letter = DeadLetter(id="l", at=1, stage="delivery", code="refused", detail="", origin="audit", position=2)

    await store.outbox.mark(
        [
            DeliveryMark("audit", 1, DeliveryState.DELIVERED, 1),
            DeliveryMark("audit", 2, DeliveryState.DEAD_LETTERED, 3, detail="410"),
            DeliveryMark("audit", 3, DeliveryState.PENDING, 1, due_at=77),
        ],
        [letter],
    )

    assert await store.outbox.due("audit", after=0, limit=9) == [
        Delivery(subscription="audit", position=3, attempts=1, due_at=77)
    ]
    assert await store.outbox.list(2) == [("audit", DeliveryState.DEAD_LETTERED, 3, "410")]
    assert [kept.id for kept in await store.dead_letters.list(stage="delivery", before=None, limit=9)] == [
        "l"
    ]


async def test_everything_is_there_after_closing_and_opening(database: Database) -> None:
    store = await database.open()
    await store.log.append(Append(events=[event(1)], cursors=[CursorMove("k", None, "1")]))
    await store.runs.route(RouteBatch(expected=0, cursor=1, runs=[run(1)]))
    await store.close()

    store = await database.open()

    assert (store.log.head, store.log.routed, await store.ledger.cursor("k")) == (1, 1, "1")
    await store.runs.record([Recorded("run-0001", 0, 1, b"[]")])
    (second,) = await store.log.append(Append(events=[event(2)]))
    assert second.position == 2
    await store.close()


async def test_a_closed_store_refuses_work(database: Database) -> None:
    store = await database.open()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.log.append(Append(events=[event(1)]))


async def test_a_second_process_is_refused(path: Path) -> None:
    store = await open_store(path, clock=SystemClock())

    with pytest.raises(ProjectLocked):
        await open_store(path, clock=SystemClock())
    await store.close()


async def test_a_damaged_database_is_refused(path: Path) -> None:
    store = await open_store(path, clock=SystemClock())
    await store.log.append(Append(events=[event(n, data="x" * 2000) for n in range(200)]))
    await store.close()
    path.with_suffix(".clean").unlink()
    content = bytearray(path.read_bytes())
    for page in range(20, len(content) // 4096, 7):
        content[page * 4096 : page * 4096 + 64] = b"\xaa" * 64
    path.write_bytes(content)

    before = set(threading.enumerate())
    with pytest.raises(StoreUnavailable, match="damaged"):
        await open_store(path, clock=SystemClock())
    for thread in set(threading.enumerate()) - before:
        thread.join(5.0)
        assert not thread.is_alive()  # else it would keep the process for ever


def test_files_of_the_store_are_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tidemill.db"

    async def make() -> None:
        store = await open_store(path, clock=SystemClock())
        await store.log.append(Append(events=[event(1)]))
        await store.close()

    asyncio.run(make())

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o077 for one in path.parent.iterdir()} == {0}


jobs_strategy = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab")), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=jobs_strategy)
def test_log_agrees_with_a_dictionary(
    jobs: list[list[tuple[int, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random jobs, all handed in at once: the log answers as a dictionary would that takes them one by one."""
    path = tmp_path_factory.mktemp("log") / "t.db"

    async def append_all() -> list[object]:
        store = await open_store(path, clock=SystemClock())
        work = [store.log.append(Append(events=[event(n, data=data) for n, data in job])) for job in jobs]
        answers = await asyncio.gather(*work, return_exceptions=True)
        await store.close()
        return list(answers)

    answers = asyncio.run(append_all())

    known: dict[int, tuple[int, str]] = {}
    for job, answer in zip(jobs, answers, strict=True):
        fresh: dict[int, tuple[int, str]] = {}
        expected: list[tuple[int, bool]] | None = []
        for number, data in job:
            found = known.get(number) or fresh.get(number)
            if found is None:
                fresh[number] = (len(known) + len(fresh) + 1, data)
                expected.append((fresh[number][0], False))
            elif found[1] == data:
                expected.append((found[0], True))
            else:
                expected = None
                break
        if expected is None:
            assert isinstance(answer, EventRejected)
        else:
            known.update(fresh)
            assert [(one.position, one.duplicate) for one in answer] == expected  # type: ignore[attr-defined]
