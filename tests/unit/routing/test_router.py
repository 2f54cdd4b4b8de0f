"""Every event that a trigger matches has exactly one disposition for it, whatever happens to the router."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from tidemill import Context, dag, task
from tidemill.errors import CursorMoved, EventRejected
from tidemill.events.event import Event
from tidemill.events.lifecycle import Type, dag_requested, retry_requested, schedule_tick
from tidemill.routing import outcomes, router
from tidemill.storage.contract import Append, DispositionKind, RouteBatch
from tidemill.testing.faults import FailCommits, LoseAnswers
from tidemill.testing.harness import Harness, MakeHarness


@task
async def keep(value: Any = None) -> Any:
    return value


@dag
def take(amount: int) -> Any:
    return keep(amount)


@dag
def any_value(value: Any = None) -> Any:
    return keep(value)


@dag(schedule="@daily")
def nightly() -> Any:
    return keep()


TRIGGERS = """
triggers:
  - name: amounts
    dag: take
    filters: [{exact: {type: order}}]
    parameters: {amount: $.data.amount}
  - name: everything
    dag: any_value
    filters: [{prefix: {type: ord}}]
  - name: asleep
    dag: any_value
    filters: [{exact: {type: order}}]
    paused: true
"""


@pytest.fixture
def harness(tidemill_harness: MakeHarness) -> MakeHarness:
    return partial(tidemill_harness, dags=[take, any_value, nightly], triggers=TRIGGERS)


async def test_each_matching_trigger_has_one_disposition(harness: MakeHarness) -> None:
    async with harness() as h:
        position = await h.send(type="order", data={"amount": 3})
        other = await h.send(type="ordinary")
        await h.run_until_idle()

        found = {one.trigger: one for one in await h.dispositions(position)}
        assert {name: one.kind for name, one in found.items()} == {
            "amounts": DispositionKind.RUN,
            "everything": DispositionKind.RUN,
            "asleep": DispositionKind.PAUSED,
        }
        assert found["asleep"].run_id is None
        run = await h.run(found["amounts"].run_id or "")
        assert (run.summary.dag, run.summary.position, run.result("keep")) == ("take", position, 3)
        assert [one.trigger for one in await h.dispositions(other)] == ["everything"]


async def test_event_that_nothing_matches_leaves_no_row(harness: MakeHarness) -> None:
    async with harness() as h:
        positions = [await h.send(type="nothing", data={"n": n}) for n in range(10)]
        await h.run_until_idle()

        assert [await h.dispositions(position) for position in positions] == [[]] * 10
        assert (await h.runs(), await h.dead_letters()) == ([], [])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"other": 1}, "mapping_failed"),
        (None, "mapping_failed"),
        ("text", "mapping_failed"),
        ({"amount": "many"}, "invalid_parameters"),
        ({"amount": None}, "invalid_parameters"),
        ({"amount": 1.5}, "invalid_parameters"),
    ],
)
async def test_event_that_cannot_become_parameters_is_a_dead_letter_and_the_rest_goes_on(
    data: Any, code: str, harness: MakeHarness
) -> None:
    async with harness() as h:
        position = await h.send(type="order", id="7", source="/shop", data=data)
        after = await h.send(type="order", data={"amount": 1})
        await h.run_until_idle()

        (letter,) = await h.dead_letters()
        assert (letter.stage, letter.code, letter.origin, letter.position) == (
            "routing",
            code,
            "amounts",
            position,
        )
        assert letter.coordinates == {"source": "/shop", "id": "7", "type": "order"}
        found = {one.trigger: one for one in await h.dispositions(position)}
        assert (found["amounts"].kind, found["amounts"].detail) == (DispositionKind.DEAD_LETTERED, letter.id)
        assert found["everything"].kind is DispositionKind.RUN
        assert {one.kind for one in await h.dispositions(after)} == {
            DispositionKind.RUN,
            DispositionKind.PAUSED,
        }


@pytest.mark.parametrize(
    ("hops", "goes_on"),
    [
        (None, True),
        (0, True),
        (16, True),
        ("16", True),
        ("0016", True),
        ("٣", True),
        (17, False),
        ("17", False),
        ("000000000017", False),
        ("99999999999999999999", False),
        ("9" * 5000, False),
        (2**31 - 1, False),
        (-1, True),
        (True, True),
        ("-5", True),
        ("1e9", True),
        ("many", True),
        (" 17", True),
    ],
)
async def test_chain_stops_after_sixteen_hops(hops: Any, goes_on: bool, harness: MakeHarness) -> None:
    async with harness() as h:
        extensions = {} if hops is None else {"hopcount": hops}
        event = Event(id="1", source="/x", type="order", data={"amount": 1}, extensions=extensions)
        position = await h.send(event)
        await h.run_until_idle()

        kinds = {one.trigger: one.kind for one in await h.dispositions(position)}
        expected = DispositionKind.RUN if goes_on else DispositionKind.DEAD_LETTERED
        assert kinds == {"amounts": expected, "everything": expected, "asleep": DispositionKind.PAUSED}
        assert {letter.code for letter in await h.dead_letters()} == (set() if goes_on else {"loop_limit"})


async def test_dag_that_starts_itself_is_stopped_and_every_link_knows_its_origin(
    tidemill_harness: MakeHarness,
) -> None:
    seen = []

    @task
    async def note(context: Context) -> None:
        assert context.event is not None
        seen.append(context.event.extensions.get("hopcount", 0))

    @dag
    def again() -> Any:
        return note()

    triggers = """
    triggers:
      - name: begin
        dag: again
        filters: [{exact: {type: go}}]
      - name: on-and-on
        dag: again
        pattern: {type: [dev.tidemill.run.succeeded.v1], data: {dag: [again]}}
    """
    async with tidemill_harness(dags=[again], triggers=triggers) as h:
        await h.send(type="go", id="origin")
        await h.run_until_idle()

        assert seen == list(range(17))
        (letter,) = await h.dead_letters()
        assert (letter.code, letter.origin) == ("loop_limit", "on-and-on")
        events = await h.events()
        assert len(events) == 18
        assert {event.extensions["correlationid"] for event in events[1:]} == {"origin"}
        assert [event.extensions["causationid"] for event in events[1:]] == [
            event.id for event in events[:-1]
        ]
        assert [event.extensions["hopcount"] for event in events[1:]] == list(range(1, 18))


async def append(h: Harness, event: Event) -> int:
    (answer,) = await h.store.log.append(Append(events=[event]))
    return answer.position


async def test_events_that_address_a_dag_start_it_under_their_own_name(harness: MakeHarness) -> None:
    async with harness() as h:
        tick = schedule_tick(dag="nightly", scheduled_at_us=2, interval_start_us=1, interval_end_us=2)
        asked = dag_requested(dag="take", parameters={"amount": 2}, id="1", by="me")
        again = retry_requested(dag="take", run_id="gone", parameters={"amount": 4}, id="2", by="me")
        positions = [await append(h, event) for event in (tick, asked, again)]
        await h.run_until_idle()

        found = [(await h.dispositions(position))[0] for position in positions]
        assert [one.trigger for one in found] == ["schedule", "manual", "retry"]
        runs = [await h.run(one.run_id or "") for one in found]
        assert [(run.summary.dag, run.state) for run in runs] == [
            ("nightly", "succeeded"),
            ("take", "succeeded"),
            ("take", "succeeded"),
        ]
        assert runs[1].result("keep") == 2


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (dag_requested(dag="nobody", parameters={}, id="1", by="me"), "unknown_dag"),
        (dag_requested(dag="take", parameters={"amount": "x"}, id="1", by="me"), "invalid_parameters"),
        (dag_requested(dag="take", parameters={}, id="1", by="me"), "invalid_parameters"),
        (dag_requested(dag="nightly", parameters={"x": 1}, id="1", by="me"), "invalid_parameters"),
        (
            Event(id="1", source="/x", type=Type.DAG_REQUESTED.value, subject="take", data=[1]),
            "invalid_parameters",
        ),
        (Event(id="1", source="/x", type=Type.DAG_REQUESTED.value, data=None), "unknown_dag"),
    ],
    ids=["unknown", "wrong", "missing", "unasked", "no object", "no subject"],
)
async def test_address_that_leads_nowhere_is_a_dead_letter(
    event: Event, code: str, harness: MakeHarness
) -> None:
    async with harness() as h:
        position = await append(h, event)
        after = await h.start("take", amount=1)
        await h.run_until_idle()

        (letter,) = await h.dead_letters()
        assert (letter.code, letter.position) == (code, position)
        assert (await h.run(after)).state == "succeeded"


async def test_nobody_outside_can_send_what_addresses_a_dag(harness: MakeHarness) -> None:
    async with harness() as h:
        with pytest.raises(EventRejected) as caught:
            await h.send(dag_requested(dag="take", parameters={"amount": 1}, id="1", by="outside"))

        assert caught.value.code == "reserved_type"
        assert await h.events() == []


async def test_restarted_router_routes_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, harness: MakeHarness
) -> None:
    monkeypatch.setattr(router, "_BATCH", 3)
    async with harness() as h:
        for point in ("route.before_commit", "route.after_commit", None):
            for number in range(7):
                try:
                    await h.send(type="order", data={"amount": number})
                except Exception:
                    break
                if number == 2 and point:
                    h.crash_at(point)
            await h.run_until_idle()
            await h.restart()
        await h.run_until_idle()

        events = await h.events()
        orders = [place for place, event in enumerate(events, 1) if event.type == "order"]
        for position in orders:
            assert len(await h.dispositions(position)) == 3
        runs = await h.runs()
        assert len(runs) == 2 * len(orders)
        assert {run.state for run in runs} == {"succeeded"}


async def test_cursor_of_unmatched_events_moves_now_and_then(
    monkeypatch: pytest.MonkeyPatch, harness: MakeHarness
) -> None:
    monkeypatch.setattr(router, "_IDLE_EVENTS", 10)
    monkeypatch.setattr(router, "_BATCH", 4)
    async with harness() as h:
        for number in range(9):
            await h.send(type="nothing", data=number)
        await h.run_until_idle()
        assert h.store.log.routed == 0
        for number in range(9):
            await h.send(type="nothing", data=number)
        await h.run_until_idle()
        assert 10 <= h.store.log.routed <= 18


@pytest.mark.parametrize("fault", ["fail", "lose"])
async def test_commit_that_fails_on_an_idle_log_is_handed_in_again(fault: str, harness: MakeHarness) -> None:
    async with harness() as h:
        made = FailCommits("route.before_commit", 3) if fault == "fail" else LoseAnswers("route", 1)
        h.faults.append(made)
        position = await h.send(type="order", data={"amount": 3})
        await h.advance(30)

        assert made.left == 0
        assert len(await h.dispositions(position)) == 3
        assert {run.state for run in await h.runs()} == {"succeeded"}


async def test_router_whose_cursor_somebody_else_moved_ends_although_the_log_is_idle(
    harness: MakeHarness,
) -> None:
    async with harness() as h:
        await h.store.runs.route(RouteBatch(expected=0, cursor=0))
        moved = asyncio.ensure_future(h.store.runs.route(RouteBatch(expected=0, cursor=1)))
        sent = asyncio.ensure_future(h.send(type="order", data={"amount": 3}))
        await asyncio.gather(moved, sent)

        with pytest.raises(CursorMoved):
            await h.run_until_idle()


async def test_mistake_of_ours_is_a_dead_letter_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, harness: MakeHarness
) -> None:
    made = outcomes.run_id

    def mistaken(trigger: str, source: str, event_id: str, at: int) -> str:
        if trigger == "amounts":
            raise ZeroDivisionError("oops")
        return made(trigger, source, event_id, at)

    monkeypatch.setattr(outcomes, "run_id", mistaken)
    async with harness() as h:
        position = await h.send(type="order", data={"amount": 3})
        await h.run_until_idle()

        kinds = {one.trigger: one.kind for one in await h.dispositions(position)}
        assert kinds["amounts"] is DispositionKind.DEAD_LETTERED
        assert kinds["everything"] is DispositionKind.RUN
        (letter,) = await h.dead_letters()
        assert (letter.code, letter.detail) == (
            "routing_failed",
            "a mistake of ours: ZeroDivisionError: oops",
        )
