"""The log stays within its limits, and nothing goes that somebody still needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.values import new_run

from tidemill.errors import StorageError, StoreUnavailable
from tidemill.events.digest import decode_from_log
from tidemill.events.event import Event
from tidemill.keeping.archive import Archived, FolderArchive
from tidemill.keeping.retention import SEGMENT, Limits, Retention
from tidemill.storage.claims import EventData
from tidemill.storage.contract import (
    Append,
    DeadLetter,
    Delivery,
    Disposition,
    DispositionKind,
    Recorded,
    RouteBatch,
    RunEnd,
    Store,
)
from tidemill.storage.replay import Replay
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

DAY = 86_400
BODY = "x" * 200


async def fill(store: Store, count: int, *, first: int = 0) -> None:
    """Append and route that many events."""
    before = store.log.head
    for start in range(first, first + count, 1000):
        numbers = range(start, min(start + 1000, first + count))
        await store.log.append(
            Append(events=[Event(id=str(n), source="/s", type="t", data=BODY) for n in numbers])
        )
    await store.runs.route(RouteBatch(expected=before, cursor=store.log.head))


def retention(
    store: Store,
    clock: ManualClock,
    *,
    days: float | None = None,
    size: int | None = None,
    dedupe_days: float = 7,
    archive: Path | None = None,
) -> Retention:
    limits = Limits(days=days, size=size, dedupe_days=dedupe_days)
    return Retention(store, limits, None if archive is None else FolderArchive(archive), clock=clock)


async def first_position(store: Store) -> int:
    return (await store.keeping.oldest() or (0, 0))[0]


async def test_old_segments_are_dropped_whole(store: Store, clock: ManualClock) -> None:
    await fill(store, 2 * SEGMENT + 10)
    clock.advance(2 * DAY)
    await fill(store, 10, first=100_000)

    dropped = await retention(store, clock, days=1).look()

    assert dropped == 2 * SEGMENT
    assert await first_position(store) == 2 * SEGMENT + 1


async def test_young_segments_stay(store: Store, clock: ManualClock) -> None:
    await fill(store, SEGMENT + 10)
    clock.advance(DAY / 2)

    assert await retention(store, clock, days=1).look() == 0


async def test_the_newest_event_is_never_dropped_so_that_positions_go_on(
    store: Store, clock: ManualClock
) -> None:
    await fill(store, SEGMENT)
    clock.advance(9 * DAY)

    assert await retention(store, clock, days=1).look() == 0
    assert store.log.head == SEGMENT


async def test_the_oldest_segments_go_when_the_log_is_too_large(store: Store, clock: ManualClock) -> None:
    await fill(store, 4 * SEGMENT)
    keeper = retention(store, clock, size=int(2.5 * await store.keeping.size(0, SEGMENT)))

    dropped = await keeper.look()
    await fill(store, SEGMENT, first=100_000)
    dropped_later = await keeper.look()

    assert (dropped, dropped_later) == (2 * SEGMENT, SEGMENT)


async def test_the_file_stays_constant_under_steady_load(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    keeper = retention(store, clock, size=2 << 20, dedupe_days=0)
    sizes = []
    for turn in range(8):
        await fill(store, SEGMENT, first=turn * SEGMENT)
        await keeper.look()
        sizes.append((tmp_path / "state" / "tidemill.db").stat().st_size)

    assert sizes[-1] < 1.6 * sizes[3]


@pytest.mark.parametrize("reason", ["unrouted", "undelivered", "unfinished"])
async def test_what_somebody_needs_stays(store: Store, clock: ManualClock, reason: str) -> None:
    events = [Event(id=str(n), source="/s", type="t") for n in range(SEGMENT + 1)]
    await store.log.append(Append(events=events))
    run = new_run("r", dag="d", version="v", position=3, event_source="/s", event_id="2", queued_at=1)
    batch = {
        "unrouted": RouteBatch(expected=0, cursor=SEGMENT - 1),
        "undelivered": RouteBatch(
            expected=0, cursor=SEGMENT + 1, deliveries=[Delivery(subscription="s", position=SEGMENT)]
        ),
        "unfinished": RouteBatch(expected=0, cursor=SEGMENT + 1, runs=[run]),
    }
    await store.runs.route(batch[reason])
    clock.advance(9 * DAY)

    assert await retention(store, clock, days=1).look() == 0


@pytest.mark.parametrize(
    ("delivering", "days", "dropped"),
    [
        (frozenset({"other"}), 20, SEGMENT),
        (frozenset({"other"}), 6, 0),
        (frozenset({"other", "paused"}), 20, 0),
        (None, 20, 0),
    ],
    ids=["too-long", "not-yet", "delivers", "not-known"],
)
async def test_what_waits_too_long_for_a_subscription_that_does_not_deliver_is_a_dead_letter(
    store: Store, clock: ManualClock, delivering: frozenset[str] | None, days: int, dropped: int
) -> None:
    events = [Event(id=str(n), source="/s", type="t", data={"n": n}) for n in range(SEGMENT + 1)]
    await store.log.append(Append(events=events))
    deliveries = [
        Delivery(subscription="paused", position=position) for position in (3, SEGMENT, SEGMENT + 1)
    ]
    await store.runs.route(RouteBatch(expected=0, cursor=SEGMENT + 1, deliveries=deliveries))
    clock.advance(days * DAY)
    limits = Limits(days=1, size=None, dedupe_days=7, undelivered_days=10)

    found = await Retention(store, limits, None, clock=clock, delivering=lambda: delivering).look()

    letters = await store.dead_letters.list(stage=None, before=None, limit=10)
    told = sorted((letter.position, letter.code, letter.origin) for letter in letters)
    assert found == dropped
    assert told == [(3, "undelivered", "paused"), (SEGMENT, "undelivered", "paused")][: 2 if dropped else 0]
    assert [decode_from_log(letter.body).data for letter in letters if letter.position == 3] == (
        [{"n": 2}] if dropped else []
    )
    assert [one.position for one in await store.outbox.due("paused", after=0, limit=9)] == (
        [SEGMENT + 1] if dropped else [3, SEGMENT, SEGMENT + 1]
    )


async def test_ended_replays_go_with_the_past(store: Store, clock: ManualClock) -> None:
    await fill(store, 1)
    for name in ("ended", "running"):
        await store.replays.add(Replay(id=name, at=clock.now_us(), position=0, until=1))
    await store.replays.cancel("ended")
    keeper = retention(store, clock, days=1)
    clock.advance(DAY - 1)
    await keeper.look()
    before = [order.id for order in await store.replays.list()]
    clock.advance(2)

    await keeper.look()

    assert before == ["ended", "running"]
    assert [order.id for order in await store.replays.list()] == ["running"]


async def test_ended_runs_go_after_their_events(store: Store, clock: ManualClock) -> None:
    await store.log.append(
        Append(events=[Event(id=str(n), source="/s", type="t") for n in range(SEGMENT + 1)])
    )
    run = new_run("r", dag="d", version="v", event_source="/s", event_id="0", queued_at=clock.now_us())
    disposition = Disposition(1, "t", DispositionKind.RUN, "r")
    await store.runs.route(RouteBatch(expected=0, cursor=SEGMENT + 1, runs=[run], dispositions=[disposition]))
    ended = RunEnd("succeeded", clock.now_us(), clock.now_us())
    await store.runs.record([Recorded("r", 0, clock.now_us(), b"{}", ended)])
    clock.advance(9 * DAY)
    await store.log.append(Append(events=[Event(id="last", source="/s", type="t")]))

    await retention(store, clock, days=1).look()

    assert await store.runs.get("r") is None
    assert await store.runs.dispositions(1) == []


async def test_dropped_events_are_duplicates_until_the_window_has_passed(
    store: Store, clock: ManualClock
) -> None:
    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)

    await retention(store, clock, days=1).look()
    again = await store.log.append(Append(events=[Event(id="5", source="/s", type="t", data=BODY)]))

    assert again[0].position == 6
    assert again[0].duplicate


async def test_dropped_events_are_in_the_archive_with_what_became_of_them(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    await store.log.append(
        Append(events=[Event(id=str(n), source="/s", type="t", data=n) for n in range(SEGMENT + 1)])
    )
    paused = Disposition(7, "t", DispositionKind.PAUSED, None, "")
    await store.runs.route(RouteBatch(expected=0, cursor=SEGMENT + 1, dispositions=[paused]))
    before = await store.log.read(0, SEGMENT)
    clock.advance(2 * DAY)

    await retention(store, clock, days=1, archive=tmp_path / "archive").look()

    kept = list(FolderArchive(tmp_path / "archive").read())
    assert [one.logged for one in kept] == before
    assert [one.disposition for one in kept[6].became] == [paused]
    assert not any(one.became for one in kept if one.logged.position != 7)


async def test_the_rest_of_a_segment_whose_drop_was_cut_off_is_not_archived_again(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)
    folder = tmp_path / "archive"
    whole = await store.log.read(0, SEGMENT)
    await FolderArchive(folder).put([Archived(one) for one in whole])
    await store.keeping.drop(1, 256, remember_since=0, remember_above=0)  # and died

    await retention(store, clock, days=1, archive=folder).look()

    assert await first_position(store) == SEGMENT + 1
    assert len(list(folder.iterdir())) == 1


async def test_nothing_is_dropped_that_could_not_be_archived(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_text("not a folder")
    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)

    with pytest.raises(StorageError, match="archive"):
        await retention(store, clock, days=1, archive=tmp_path / "archive").look()

    assert await first_position(store) == 1


async def test_a_segment_that_was_archived_twice_is_read_once(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)
    folder = tmp_path / "archive"
    await retention(store, clock, days=1, archive=folder).look()
    (name,) = [path.name for path in folder.iterdir()]

    # Another node that had begun before wrote a part of the same again.
    (folder / f"events-{5:020}-{SEGMENT:020}.jsonl.gz").write_bytes((folder / name).read_bytes())

    positions = [one.logged.position for one in FolderArchive(folder).read()]
    assert positions == list(range(1, SEGMENT + 1))


@pytest.mark.parametrize("is_archived", [False, True], ids=["not archived", "archived"])
async def test_data_beside_the_log_goes_with_it_unless_an_archive_refers_to_it(
    tmp_path: Path, clock: ManualClock, is_archived: bool
) -> None:
    archive = tmp_path / "archive" if is_archived else None
    data = EventData(f"file://{tmp_path / 'kept'}", above=100)
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=clock, data=data)
    try:
        large = Event(id="large", source="/s", type="t", data=BODY)
        small = [Event(id=f"s{n}", source="/s", type="t", data="s") for n in range(SEGMENT - 1)]
        await store.log.append(Append(events=[large, *small]))
        await store.runs.route(RouteBatch(expected=0, cursor=SEGMENT))
        clock.advance(4 * DAY)
        await fill(store, 1, first=100_000)
        old, young = sorted(path.name for path in (tmp_path / "kept" / "events").iterdir())

        await retention(store, clock, days=5, archive=archive).look()
        before = sorted(path.name for path in (tmp_path / "kept" / "events").iterdir())
        await retention(store, clock, days=3, archive=archive).look()
        after = sorted(path.name for path in (tmp_path / "kept" / "events").iterdir())

        assert before == [old, young]
        assert after == ([old, young] if is_archived else [young])
    finally:
        await store.close()


async def test_an_archive_that_fails_in_its_own_way_drops_nothing_and_stops_nobody(
    store: Store, clock: ManualClock
) -> None:
    class Broken(FolderArchive):
        def write(self, name: str, content: bytes) -> None:
            raise RuntimeError("as object stores' clients do")

    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)
    limits = Limits(days=1, size=None, dedupe_days=7)

    with pytest.raises(StorageError, match="as object stores' clients do"):
        await Retention(store, limits, Broken(Path("/nowhere")), clock=clock).look()

    assert await first_position(store) == 1


async def test_a_node_that_was_frozen_does_not_spoil_what_another_has_archived(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)
    became, ours, folder = store.keeping.became, [], tmp_path / "archive"
    kept: dict[str, bytes] = {}

    async def frozen(first: int, last: int) -> object:
        if not ours:
            ours.append(first)
            await retention(store, clock, days=1, archive=folder).look()
            kept.update({path.name: path.read_bytes() for path in folder.iterdir()})
        return await became(first, last)

    store.keeping.became = frozen  # type: ignore[method-assign,assignment]
    with pytest.raises(StorageError):
        await retention(store, clock, days=1, archive=folder).look()

    assert len(kept) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


async def test_dead_letters_from_before_the_first_event_stay(store: Store, clock: ManualClock) -> None:
    letter = DeadLetter(
        id="letter", at=clock.now_us(), stage="kafka", code="invalid_json", detail="", origin="o"
    )
    await store.dead_letters.add([letter])
    clock.advance(3600)
    await fill(store, 1)

    await retention(store, clock, days=30).look()
    await retention(store, clock, days=30, size=1 << 30).look()

    assert await store.dead_letters.get("letter") is not None


async def test_dead_letters_stay_for_their_days_when_the_log_begins_later(
    store: Store, clock: ManualClock
) -> None:
    await fill(store, SEGMENT)
    clock.advance(20 * DAY)
    letter = DeadLetter(id="letter", at=clock.now_us(), stage="kafka", code="c", detail="", origin="o")
    await store.dead_letters.add([letter])
    clock.advance(15 * DAY)
    await fill(store, 1, first=100_000)

    assert await retention(store, clock, days=30).look() == SEGMENT

    assert await store.dead_letters.get("letter") is not None


async def test_a_lost_answer_does_not_make_the_log_look_larger_than_it_is(
    store: Store, clock: ManualClock
) -> None:
    await fill(store, 4 * SEGMENT + 1)
    limit = await store.keeping.size(0, store.log.head) * 2 // 3
    one = retention(store, clock, size=limit)
    drop, lost = store.keeping.drop, []

    async def lose_one_answer(*span: int, **remembered: int) -> None:
        await drop(*span, **remembered)
        if not lost:
            lost.append(span)
            raise StoreUnavailable("the answer was lost")

    store.keeping.drop = lose_one_answer  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await one.look()
    await one.look()

    assert await first_position(store) == 2 * SEGMENT + 1


async def test_a_segment_is_dropped_in_short_transactions(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, SEGMENT + 1)
    clock.advance(2 * DAY)
    drop, spans = store.keeping.drop, []

    async def note(first: int, last: int, **remembered: int) -> None:
        spans.append((first, last))
        await drop(first, last, **remembered)

    monkeypatch.setattr(store.keeping, "drop", note)
    await retention(store, clock, days=1).look()

    assert [last for _, last in spans][-1] == SEGMENT
    assert max(last - first + 1 for first, last in spans) <= 512
    assert await first_position(store) == SEGMENT + 1
