"""Admission through the whole service under virtual time: every stage as its users see it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tidemill import dag, task
from tidemill.routing.admission import gate
from tidemill.storage.contract import DispositionKind as Kind
from tidemill.testing.harness import Harness, MakeHarness

GATE: dict[str, asyncio.Event] = {}


@task
async def keep(value: Any = None) -> Any:
    return value


@dag
def take(value: Any = None) -> Any:
    return keep(value)


@task
async def wait(name: Any) -> Any:
    await GATE.setdefault(str(name), asyncio.Event()).wait()
    return name


@dag
def hold(name: Any) -> Any:
    return wait(name)


@pytest.fixture(autouse=True)
def gates() -> None:
    GATE.clear()


def trigger(
    admission: str, *, dag_id: str = "take", parameters: str = "{value: $.data.n}", more: str = ""
) -> str:
    lines = "\n".join(f"      {line}" for line in admission.strip().splitlines())
    return (
        "triggers:\n  - name: t\n"
        f"    dag: {dag_id}\n    filters: [{{prefix: {{type: x}}}}]\n    parameters: {parameters}\n{more}"
        f"    admission:\n{lines}\n"
    )


async def sent(h: Harness, *data: Any, kind: str = "x") -> list[int]:
    return [await h.send(type=kind, data=one) for one in data]


async def kinds(h: Harness, positions: list[int]) -> list[str]:
    """The disposition of each event for the trigger, "held" where it waits."""
    found = []
    for position in positions:
        dispositions = await h.dispositions(position)
        held = await h.store.admissions.held_at(position)
        assert len(dispositions) + len(held) == 1, f"position {position}: {dispositions} {held}"
        found.append(dispositions[0].kind.value if dispositions else "held")
    return found


async def results(h: Harness, name: str = "value") -> list[Any]:
    import orjson

    return [orjson.loads(run.parameters).get(name) for run in await h.runs()]


async def test_idempotency_takes_a_key_once_within_its_time(tidemill_harness: MakeHarness) -> None:
    rule = "idempotency: {key: $.data.k, ttl: 10s}"
    async with tidemill_harness(dags=[take], triggers=trigger(rule)) as h:
        positions = await sent(h, {"n": 1, "k": "a"}, {"n": 2, "k": "a"}, {"n": 3, "k": "b"})
        await h.advance(9.999)
        positions += await sent(h, {"n": 4, "k": "a"})
        await h.advance(0.001)
        positions += await sent(h, {"n": 5, "k": "a"})
        await h.run_until_idle()

        assert await kinds(h, positions) == ["run", "duplicate_of", "run", "duplicate_of", "run"]
        assert (await h.dispositions(positions[1]))[0].detail == f"position {positions[0]}"


async def test_idempotency_while_running_ends_with_the_run(tidemill_harness: MakeHarness) -> None:
    rule = "idempotency: {key: $.data.k, while_running: true}"
    triggers = trigger(rule, dag_id="hold", parameters="{name: $.data.k}")
    async with tidemill_harness(dags=[hold], triggers=triggers) as h:
        positions = await sent(h, {"k": "a"}, {"k": "a"}, {"k": "b"})
        await h.run_until_idle(attempts=False)
        await h.restart()
        positions += await sent(h, {"k": "a"})
        await h.run_until_idle(attempts=False)
        GATE["a"].set()
        GATE["b"].set()
        await h.run_until_idle()
        positions += await sent(h, {"k": "a"})
        await h.run_until_idle()

        assert await kinds(h, positions) == ["run", "duplicate_of", "run", "duplicate_of", "run"]


async def test_rate_limit_drops_what_is_too_much_in_any_period(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[take], triggers=trigger("rate_limit: {limit: 2, period: 1m}")) as h:
        positions = await sent(h, {"n": 1})
        await h.advance(30)
        positions += await sent(h, {"n": 2}, {"n": 3})
        await h.advance(30)
        await h.restart()
        positions += await sent(h, {"n": 4}, {"n": 5})
        await h.run_until_idle()

        assert await kinds(h, positions) == ["run", "run", "dropped_by_limit", "run", "dropped_by_limit"]


async def test_debounce_starts_once_with_the_last_event_when_events_have_ceased(
    tidemill_harness: MakeHarness,
) -> None:
    rule = "debounce: {key: $.data.k, period: 10s, max_wait: 25s}"
    async with tidemill_harness(dags=[take], triggers=trigger(rule)) as h:
        positions = await sent(h, {"n": 1, "k": "a"}, {"n": 2, "k": "b"})
        await h.advance(9)
        positions += await sent(h, {"n": 3, "k": "a"})
        await h.run_until_idle()
        assert await kinds(h, positions) == ["held", "held", "held"]
        await h.advance(1)
        assert await kinds(h, positions) == ["held", "run", "held"]
        await h.kill()
        await h.restart()
        await h.advance(8.999)
        assert await kinds(h, positions) == ["held", "run", "held"]
        await h.advance(0.001)

        assert await kinds(h, positions) == ["debounced_into", "run", "run"]
        assert sorted(await results(h)) == [2, 3]
        (run,) = {one.run_id for place in (0, 2) for one in await h.dispositions(positions[place])}
        assert (await h.run(run or "")).result("keep") == 3


async def test_debounce_waits_no_longer_than_its_longest_time(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(
        dags=[take], triggers=trigger("debounce: {period: 10s, max_wait: 25s}\nreduce: first")
    ) as h:
        positions = []
        for number in range(4):
            positions += await sent(h, {"n": number})
            await h.advance(8)

        assert await kinds(h, positions) == ["debounced_into", "debounced_into", "debounced_into", "run"]
        assert await results(h) == [0]


async def test_batch_starts_when_there_are_enough_or_the_first_has_waited(
    tidemill_harness: MakeHarness,
) -> None:
    rule = "batch: {size: 3, period: 1m}\nreduce: all"
    parameters = "{value: {all: $.data, second: '$.events[1].id'}}"
    async with tidemill_harness(dags=[take], triggers=trigger(rule, parameters=parameters)) as h:
        positions = await sent(h, *({"n": number} for number in range(5)))
        await h.run_until_idle()
        assert await kinds(h, positions) == ["batched_into", "batched_into", "run", "held", "held"]
        await h.kill()
        await h.advance(60)
        await h.restart()
        await h.run_until_idle()

        assert await kinds(h, positions) == ["batched_into", "batched_into", "run", "batched_into", "run"]
        found = sorted(await results(h), key=lambda one: one["all"][0]["n"])
        assert [one["all"] for one in found] == [[{"n": 0}, {"n": 1}, {"n": 2}], [{"n": 3}, {"n": 4}]]
        events = {event.id: event for event in await h.events()}
        assert events[found[0]["second"]].data == {"n": 1}


async def test_throttle_starts_no_more_than_its_limit_in_any_period(tidemill_harness: MakeHarness) -> None:
    rule = "throttle: {limit: 2, period: 1m}\npriority: $.data.p"
    async with tidemill_harness(dags=[take], triggers=trigger(rule)) as h:
        positions = await sent(h, *({"n": number, "p": number} for number in range(5)))
        await h.run_until_idle()
        assert await kinds(h, positions) == ["run", "run", "held", "held", "held"]
        await h.advance(30)
        await h.restart()
        await h.advance(29.999)
        assert await kinds(h, positions) == ["run", "run", "held", "held", "held"]
        await h.advance(0.001)
        assert await kinds(h, positions) == ["run", "run", "held", "run", "run"], "the highest priority first"
        await h.advance(60)

        assert await kinds(h, positions) == ["run"] * 5


async def test_concurrency_queues_by_priority_and_follows_the_ends_of_runs(
    tidemill_harness: MakeHarness,
) -> None:
    rule = "concurrency: {limit: 1}\npriority: {path: $.data.p, default: 0}"
    triggers = trigger(rule, dag_id="hold", parameters="{name: $.data.n}")
    async with tidemill_harness(dags=[hold], triggers=triggers) as h:
        positions = await sent(h, {"n": 1}, {"n": 2}, {"n": 3, "p": 5})
        await h.run_until_idle(attempts=False)
        assert await kinds(h, positions) == ["run", "held", "held"]
        await h.kill()
        await h.restart()
        await h.run_until_idle(attempts=False)
        assert await kinds(h, positions) == ["run", "held", "held"], "the slot is still taken"
        GATE["1"].set()
        await h.run_until_idle(attempts=False)
        assert await kinds(h, positions) == ["run", "held", "run"]
        GATE["3"].set()
        await h.run_until_idle(attempts=False)

        assert await kinds(h, positions) == ["run", "run", "run"]
        GATE["2"].set()
        await h.run_until_idle()
        assert {run.state for run in await h.runs()} == {"succeeded"}


async def test_runs_of_events_that_waited_are_carried_out_beside_those_that_did_not(
    tidemill_harness: MakeHarness,
) -> None:
    triggers = trigger("throttle: {limit: 1, period: 1m}") + (
        "  - {name: all, dag: take, filters: [{prefix: {type: x}}]}\n"
    )
    async with tidemill_harness(dags=[take], triggers=triggers, max_live_runs=1) as h:
        await sent(h, *({"n": number} for number in range(5)))
        await h.restart()
        for _ in range(5):
            await h.advance(60)

        assert Counter((run.trigger, run.state) for run in await h.runs()) == {
            ("t", "succeeded"): 5,
            ("all", "succeeded"): 5,
        }


@pytest.mark.parametrize(
    ("when_full", "after", "ended"),
    [
        ("drop", ["run", "dropped_by_limit", "dropped_by_limit"], ["succeeded"]),
        ("coalesce", ["run", "coalesced_into", "run"], ["succeeded", "succeeded"]),
        ("cancel_running", ["run", "cancelled", "run"], ["cancelled", "succeeded"]),
    ],
)
async def test_concurrency_does_as_asked_when_it_is_full(
    when_full: str, after: list[str], ended: list[str], tidemill_harness: MakeHarness
) -> None:
    rule = f"concurrency: {{limit: 1, when_full: {when_full}}}"
    triggers = trigger(rule, dag_id="hold", parameters="{name: $.data.n}")
    async with tidemill_harness(dags=[hold], triggers=triggers) as h:
        positions = await sent(h, {"n": 1})
        await h.run_until_idle(attempts=False)
        await h.advance(1)
        positions += await sent(h, {"n": 2}, {"n": 3})
        await h.run_until_idle(attempts=False)
        for name in ("1", "2", "3"):
            GATE.setdefault(name, asyncio.Event()).set()
        await h.run_until_idle()

        assert await kinds(h, positions) == after
        assert [run.state for run in await h.runs()] == ended


JOIN = """
join:
  of:
    - {name: paid, filters: [{exact: {type: x.paid}}]}
    - {name: packed, filters: [{exact: {type: x.packed}}]}
  need: %s
  key: $.data.order
  window: 1m
"""


async def test_join_starts_when_every_kind_has_come_for_a_key(tidemill_harness: MakeHarness) -> None:
    parameters = "{value: '$.events'}"
    async with tidemill_harness(dags=[take], triggers=trigger(JOIN % "all", parameters=parameters)) as h:
        positions = await sent(h, {"order": 1}, {"order": 2}, kind="x.paid")
        await h.advance(59)
        await h.restart()
        positions += await sent(h, {"order": 1}, kind="x.packed")
        positions += await sent(h, {"order": 2}, kind="x.other")
        await h.advance(1)

        assert await kinds(h, positions) == ["joined_into", "expired", "run", "not_joined"]
        (events,) = await results(h)
        assert [event["type"] for event in events] == ["x.paid", "x.packed"]


async def test_join_as_a_sequence_takes_nothing_out_of_order(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(
        dags=[take], triggers=trigger(JOIN % "sequence", parameters="{value: 1}")
    ) as h:
        positions = await sent(h, {"order": 1}, kind="x.packed")
        positions += await sent(h, {"order": 1}, kind="x.paid")
        positions += await sent(h, {"order": 1}, kind="x.packed")
        await h.run_until_idle()

        assert await kinds(h, positions) == ["not_joined", "joined_into", "run"]


async def test_join_of_absence_starts_when_the_other_does_not_come(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(
        dags=[take], triggers=trigger(JOIN % "absence", parameters="{value: $.data.order}")
    ) as h:
        positions = await sent(h, {"order": 1}, {"order": 2}, kind="x.paid")
        await h.advance(30)
        positions += await sent(h, {"order": 1}, kind="x.packed")
        await h.advance(29.999)
        assert await kinds(h, positions) == ["cancelled", "held", "not_joined"]
        await h.advance(0.001)

        assert await kinds(h, positions) == ["cancelled", "run", "not_joined"]
        assert await results(h) == [2]


async def test_join_counts_late_events_to_the_run_that_has_started(tidemill_harness: MakeHarness) -> None:
    rule = JOIN % "any" + "  lateness: 10s\n"
    async with tidemill_harness(dags=[take], triggers=trigger(rule, parameters="{value: 1}")) as h:
        positions = await sent(h, {"order": 1}, kind="x.paid")
        await h.advance(9)
        await h.restart()
        positions += await sent(h, {"order": 1}, kind="x.packed")
        await h.advance(1)
        positions += await sent(h, {"order": 1}, kind="x.packed")
        await h.run_until_idle()

        assert await kinds(h, positions) == ["run", "joined_into", "run"]
        first, late, _ = [(await h.dispositions(position))[0].run_id for position in positions]
        assert first == late


async def test_cancel_on_cancels_what_waits_and_what_runs_under_its_key(
    tidemill_harness: MakeHarness,
) -> None:
    rule = """
cancel_on: {filters: [{exact: {type: stop}}], key: $.data.k, their_key: $.data.which}
concurrency: {limit: 1, key: $.data.k}
"""
    triggers = trigger(rule, dag_id="hold", parameters="{name: $.data.n}")
    async with tidemill_harness(dags=[hold], triggers=triggers) as h:
        positions = await sent(h, {"n": 1, "k": "a"}, {"n": 2, "k": "a"})
        await h.advance(1)
        positions += await sent(h, {"n": 3, "k": "b"})
        await h.run_until_idle(attempts=False)
        await h.restart()
        stop = await h.send(type="stop", data={"which": "a"})
        await h.run_until_idle(attempts=False)

        assert await kinds(h, positions) == ["run", "cancelled", "run"]
        assert (await h.dispositions(positions[1]))[0].detail == f"by position {stop}"
        assert [run.state for run in await h.runs()] == ["cancelled", "running"]
        assert await h.dispositions(stop) == []
        GATE["3"].set()
        await h.run_until_idle()


async def test_paused_trigger_keeps_events_until_it_goes_on_in_order(tidemill_harness: MakeHarness) -> None:
    rule = "paused: buffer\nbatch: {size: 2, period: 1h}\nreduce: all"
    paused = trigger(rule, parameters="{value: $.data}", more="    paused: true\n")
    async with tidemill_harness(dags=[take], triggers=paused) as h:
        positions = await sent(h, {"n": 1}, {"n": 2}, {"n": 3})
        await h.run_until_idle()
        assert await kinds(h, positions) == ["held", "held", "held"]
        await h.restart(triggers=trigger(rule, parameters="{value: $.data}"))
        await h.run_until_idle()

        assert await kinds(h, positions) == ["batched_into", "run", "held"]
        assert await results(h) == [[{"n": 1}, {"n": 2}]]


async def test_what_waits_goes_on_when_its_admission_is_gone_and_ends_with_its_trigger(
    tidemill_harness: MakeHarness,
) -> None:
    rule = trigger("debounce: {period: 1h}")
    async with tidemill_harness(dags=[take], triggers=rule) as h:
        first = await sent(h, {"n": 1})
        await h.run_until_idle()
        await h.restart(triggers=rule[: rule.index("    admission")])
        await h.run_until_idle()
        assert await kinds(h, first) == ["run"]
        await h.restart(triggers=rule)
        second = await sent(h, {"n": 2})
        await h.run_until_idle()
        await h.restart(triggers="")
        await h.run_until_idle()

        assert await kinds(h, second) == ["cancelled"]


async def test_events_that_cannot_go_on_are_dead_letters_and_hold_nothing(
    tidemill_harness: MakeHarness,
) -> None:
    rule = "idempotency: {key: $.data.k, while_running: true}\nconcurrency: {limit: 1, when_full: coalesce}"
    triggers = trigger(rule, dag_id="hold", parameters="{name: $.data.n}")
    async with tidemill_harness(dags=[hold], triggers=triggers) as h:
        positions = await sent(h, {"n": 1}, {"k": 1}, {"k": 1, "n": 5})
        await h.run_until_idle(attempts=False)
        GATE["5"].set()
        await h.run_until_idle()

        assert await kinds(h, positions) == ["dead_lettered", "dead_lettered", "run"]
        assert [letter.code for letter in await h.dead_letters()] == ["mapping_failed", "mapping_failed"]
        assert Counter(run.state for run in await h.runs()) == {"succeeded": 1}


async def test_lost_answer_of_a_timer_commits_nothing_twice(tidemill_harness: MakeHarness) -> None:
    from tidemill.testing.faults import LoseAnswers

    async with tidemill_harness(dags=[take], triggers=trigger("debounce: {period: 10s}")) as h:
        positions = await sent(h, {"n": 1})
        await h.run_until_idle()
        h.faults.append(LoseAnswers("route", 2))
        await h.advance(60)

        assert await kinds(h, positions) == ["run"]
        assert len(await h.runs()) == 1


@pytest.mark.parametrize("point", ["route.before_commit", "route.after_commit"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_killed_at_any_routing_commit_nothing_is_lost_or_doubled(
    point: str, number: int, tidemill_harness: MakeHarness
) -> None:
    rule = """
key: $.data.k
idempotency: {key: $.data.n, ttl: 1h}
debounce: {period: 10s}
batch: {size: 4, period: 30s, key: ''}
throttle: {limit: 1, period: 1m, key: ''}
concurrency: {limit: 1, when_full: coalesce, key: ''}
reduce: all
"""
    async with tidemill_harness(dags=[take], triggers=trigger(rule, parameters="{value: $.data}")) as h:
        positions: list[int] = []
        h.crash_at(point, number)
        for number in range(6):
            if not h.is_running:
                await h.restart()
            positions += await sent(h, {"n": number, "k": number % 2})
            await h.advance(7)
        for _ in range(10):
            if not h.is_running:
                await h.restart()
            await h.advance(60)

        found = await kinds(h, positions)
        assert set(found) <= {"run", "debounced_into", "batched_into", "coalesced_into"}
        given = [one["n"] for value in await results(h) for one in value]
        assert sorted(given) == list(range(6))
        assert Counter(found)["run"] == len(await h.runs())


def test_every_kind_is_told_apart() -> None:
    assert len({kind.value for kind in Kind}) == len(Kind)


async def test_what_memory_has_no_room_for_is_read_from_the_database(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_REMEMBERED", 2)
    rule = "key: $.data.k\nidempotency: {key: $.data.k, ttl: 1h}\nthrottle: {limit: 1, period: 1m}"
    async with tidemill_harness(dags=[take], triggers=trigger(rule)) as h:
        positions = []
        for _ in range(2):
            for number in range(20):
                positions += await sent(h, {"n": number, "k": number})
                await h.run_until_idle()
            await h.restart()

        assert await kinds(h, positions) == ["run"] * 20 + ["duplicate_of"] * 20


async def test_remembered_keys_are_forgotten_after_their_time(tidemill_harness: MakeHarness) -> None:
    rule = "idempotency: {key: $.data.k, ttl: 1m}"
    async with tidemill_harness(dags=[take], triggers=trigger(rule, parameters="{value: $.data.k}")) as h:
        await sent(h, *({"k": number} for number in range(10)))
        await h.advance(3600)
        await sent(h, {"k": "later"})
        await h.run_until_idle()

        (left,) = await h.store.admissions.remembered(limit=100)
        assert left.key == '"later"'


async def test_no_more_is_held_than_allowed(tidemill_harness: MakeHarness) -> None:
    triggers = trigger("debounce: {period: 1h}")
    async with tidemill_harness(dags=[take], triggers=triggers, max_held_events=2) as h:
        positions = await sent(h, {"n": 1}, {"n": 2}, {"n": 3})
        await h.run_until_idle()

        assert await kinds(h, positions) == ["held", "held", "dead_lettered"]
        assert [letter.code for letter in await h.dead_letters()] == ["admission_full"]


async def test_reducer_that_raises_makes_dead_letters_of_its_events(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    for name, text in {
        "workflows/sums.py": "def total(events):\n    return sum(e['data'] for e in events)\n",
        "workflows/work.py": (
            "from tidemill import dag, task\n@task\nasync def keep(value):\n    return value\n"
            "@dag\ndef take(value=None):\n    return keep(value)\n"
        ),
        "triggers/t.yaml": trigger(
            "batch: {size: 2, period: 1h}\nreduce: 'sums:total'", parameters="{value: $.data}"
        ),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    async with tidemill_harness(root=tmp_path) as h:
        positions = await sent(h, 1, 2, 3, "x")
        await h.run_until_idle()

        assert await kinds(h, positions) == ["batched_into", "run", "dead_lettered", "dead_lettered"]
        assert await results(h) == [3]
        assert {letter.code for letter in await h.dead_letters()} == {"reduce_failed"}


async def test_tree_has_not_ended_while_one_of_its_events_waits(tidemill_harness: MakeHarness) -> None:
    triggers = """
triggers:
  - {name: begin, dag: take, filters: [{exact: {type: go}}]}
  - name: later
    dag: take
    pattern: {type: [dev.tidemill.run.succeeded.v1], data: {trigger: [begin]}}
    admission: {debounce: {period: 1m}}
  - {name: end, dag: take, filters: [{exact: {type: dev.tidemill.tree.completed.v1}}]}
"""
    async with tidemill_harness(dags=[take], triggers=triggers) as h:
        await h.send(type="go")
        await h.run_until_idle()
        assert [run.trigger for run in await h.runs()] == ["begin"]
        await h.restart()
        await h.run_until_idle()
        assert [run.trigger for run in await h.runs()] == ["begin"]
        await h.advance(60)

        assert {run.trigger for run in await h.runs()} == {"begin", "later", "end"}


@pytest.mark.parametrize(("loops", "runs"), [("ignore", 17), ("avoid", 1), ("3", 3)])
async def test_trigger_starts_as_often_in_one_chain_as_it_may(
    loops: str, runs: int, tidemill_harness: MakeHarness
) -> None:
    triggers = f"""
triggers:
  - {{name: begin, dag: take, filters: [{{exact: {{type: go}}}}]}}
  - name: again
    dag: take
    pattern: {{type: [dev.tidemill.run.succeeded.v1], data: {{dag: [take]}}}}
    loops: {loops}
"""
    async with tidemill_harness(dags=[take], triggers=triggers) as h:
        await h.send(type="go")
        await h.send(type="go")
        await h.run_until_idle()

        found = Counter(run.trigger for run in await h.runs())
        assert found == {"begin": 2, "again": 2 * (16 if loops == "ignore" else runs)}
        last = [one.kind for n in range(1, 60) for one in await h.dispositions(n) if one.trigger == "again"]
        avoided = [] if loops == "ignore" else [Kind.LOOP_AVOIDED] * 2
        assert [kind for kind in last if kind is Kind.LOOP_AVOIDED] == avoided
