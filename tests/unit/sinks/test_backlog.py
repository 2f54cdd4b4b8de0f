"""The bounded window on the outbox: all is handed out, once and in time, whatever is forgotten."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tidemill.sinks.backlog import Backlog
from tidemill.storage.contract import Delivery


def delivery(position: int, *, due_at: int = 0) -> Delivery:
    return Delivery(subscription="s", position=position, due_at=due_at)


def read(backlog: Backlog, outbox: dict[int, Delivery], *, now: int) -> None:
    after, limit = backlog.begin_page()
    later = [outbox[position] for position in sorted(outbox) if position > after]
    backlog.admit(later[:limit], now=now)


def test_backlog_hands_out_in_order_of_position() -> None:
    backlog = Backlog(ordered=False, page=10)
    read(backlog, {n: delivery(n) for n in (3, 1, 2)}, now=0)

    taken = [backlog.take(0), backlog.take(0), backlog.take(0), backlog.take(0)]

    assert taken == [delivery(1), delivery(2), delivery(3), None]


def test_ordered_backlog_is_held_back_by_its_oldest() -> None:
    backlog = Backlog(ordered=True, page=10)
    read(backlog, {1: delivery(1, due_at=100), 2: delivery(2)}, now=0)

    assert backlog.take(99) is None
    assert backlog.next_at() == 100
    assert backlog.take(100) == delivery(1, due_at=100)

    backlog.put_back(delivery(1, due_at=500))

    assert backlog.take(499) is None
    assert backlog.take(500) == delivery(1, due_at=500)
    backlog.drop(1)
    assert backlog.take(500) == delivery(2)


def test_unordered_backlog_is_not_held_back_by_a_retry() -> None:
    backlog = Backlog(ordered=False, page=10)
    read(backlog, {1: delivery(1, due_at=100), 2: delivery(2)}, now=0)

    assert backlog.take(0) == delivery(2)
    assert backlog.take(0) is None
    assert backlog.next_at() == 100
    assert backlog.take(100) == delivery(1, due_at=100)


def test_new_deliveries_and_due_retries_take_turns() -> None:
    backlog = Backlog(ordered=False, page=10)
    read(backlog, {n: delivery(n, due_at=50 if n <= 3 else 0) for n in range(1, 7)}, now=0)

    order = [taken.position for _ in range(6) if (taken := backlog.take(60))]

    assert sorted(order) == [1, 2, 3, 4, 5, 6]
    assert [position > 3 for position in order] in ([False, True] * 3, [True, False] * 3)


def test_what_is_settled_while_a_page_is_read_is_not_taken_from_that_page() -> None:
    backlog = Backlog(ordered=False, page=2, waiting_limit=2)
    outbox = {n: delivery(n) for n in (1, 2)}
    read(backlog, outbox, now=0)
    first, second = backlog.take(0), backlog.take(0)
    assert first is not None
    assert second is not None

    backlog.begin_page()
    backlog.drop(first.position)
    backlog.admit([first, second, delivery(3)], now=0)

    assert backlog.take(0) == delivery(3)
    assert backlog.take(0) is None


def test_forgotten_deliveries_are_read_again_when_the_earliest_is_due() -> None:
    backlog = Backlog(ordered=False, page=100, waiting_limit=4)
    outbox = {n: delivery(n, due_at=100 * n) for n in range(1, 10)}
    read(backlog, outbox, now=0)
    assert len(backlog) <= 4
    assert not backlog.complete

    handed_out = []
    for now in range(0, 1_000, 100):
        while True:
            taken = backlog.take(now)
            if taken is not None:
                handed_out.append((now, taken.position))
                del outbox[taken.position]
                backlog.drop(taken.position)
            elif backlog.wants_page:
                read(backlog, outbox, now=now)
            else:
                break

    assert handed_out == [(100 * n, n) for n in range(1, 10)]
    assert backlog.complete
    assert len(backlog) == 0


@given(
    st.booleans(),
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.lists(st.tuples(st.booleans(), st.integers(0, 10)), max_size=60),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_backlog_hands_out_every_delivery_until_it_is_settled(
    ordered: bool, times: list[int], outcomes: list[tuple[bool, int]], page: int, waiting_limit: int
) -> None:
    outbox = {place + 1: delivery(place + 1, due_at=due_at) for place, due_at in enumerate(times)}
    backlog = Backlog(ordered=ordered, page=page, waiting_limit=waiting_limit)
    script = iter(outcomes)
    now, settled = 0, []

    for _ in range(3_000):
        assert len(backlog) <= page + waiting_limit + 1
        taken = backlog.take(now)
        if taken is not None:
            assert taken == outbox[taken.position]
            assert taken.due_at <= now
            fails, delay = next(script, (False, 0))
            if fails:
                outbox[taken.position] = again = replace(
                    taken, attempts=taken.attempts + 1, due_at=now + delay
                )
                backlog.put_back(again)
            else:
                settled.append(taken.position)
                del outbox[taken.position]
                backlog.drop(taken.position)
        elif backlog.wants_page:
            read(backlog, outbox, now=now)
        elif (next_at := backlog.next_at()) is not None:
            assert next_at > now
            now = next_at
        else:
            break

    assert outbox == {}
    assert sorted(settled) == list(range(1, len(times) + 1))
    if ordered:
        assert settled == sorted(settled)


@given(
    ordered=st.booleans(),
    page=st.integers(1, 5),
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "done", "retry", "redrive"]), st.integers(0, 40)), max_size=80
    ),
)
def test_deliveries_that_are_pending_again_are_handed_out_again_and_in_order_where_that_is_asked_for(
    ordered: bool, page: int, steps: list[tuple[str, int]]
) -> None:
    backlog, outbox, done = Backlog(ordered=ordered, page=page), dict[int, Delivery](), set[int]()
    newest = now = 0

    def take() -> Delivery | None:
        while backlog.wants_page:
            read(backlog, outbox, now=now)
        return backlog.take(now)

    for step, number in steps:
        now += 1
        match step:
            case "send":
                newest += 1
                outbox[newest] = delivery(newest)
                backlog.behind = True
            case "redrive" if done:
                again = sorted(done)[number % len(done)]
                done.discard(again)
                outbox[again] = delivery(again)
                backlog.rewind()
            case "done" | "retry":
                found = take()
                if found is None:
                    assert not outbox
                    continue
                if ordered:
                    assert found.position == min(outbox)
                if step == "done":
                    del outbox[found.position]
                    done.add(found.position)
                    backlog.drop(found.position)
                else:
                    outbox[found.position] = replace(found, attempts=found.attempts + 1)
                    backlog.put_back(outbox[found.position])
            case _:
                pass

    rest = set()
    while (found := take()) is not None:
        rest.add(found.position)
        del outbox[found.position]
        backlog.drop(found.position)
    assert not outbox
    assert len(backlog) == 0
