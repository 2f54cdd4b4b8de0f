"""Every pair and triple of admission settings against a small model, event by event under virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.routing.admission_model import Event, Model

from tidemill.patterns.filters import compile_filters
from tidemill.project.admission import (
    Admission,
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    Idempotency,
    Join,
    JoinMode,
    JoinPart,
    RateLimit,
    Stage,
    Throttle,
    WhenFull,
)
from tidemill.routing.admission.items import Item, Member, held_row, restored
from tidemill.routing.admission.memory import Memory
from tidemill.routing.admission.pipeline import LiveKeys, Pipeline
from tidemill.routing.admission.queue import Queue
from tidemill.storage.contract import DispositionKind, HeldEvent, MemoryKey, Remembered

RULE = compile_filters([])
PARTS = (JoinPart("a", RULE), JoinPart("b", RULE))
SETTINGS: dict[str, list[Any]] = {
    "idempotency": [
        Idempotency(ttl=4, while_running=False),
        Idempotency(ttl=None, while_running=True),
        Idempotency(ttl=2, while_running=True),
    ],
    "rate_limit": [RateLimit(limit=1, period=3), RateLimit(limit=3, period=5)],
    "join": [
        Join(parts=PARTS, mode=JoinMode.ALL, at_least=2, window=4),
        Join(parts=PARTS, mode=JoinMode.ALL, at_least=2, window=3, expiry="start"),
        Join(parts=PARTS, mode=JoinMode.ANY, at_least=1, window=4, lateness=2),
        Join(parts=PARTS, mode=JoinMode.SEQUENCE, at_least=2, window=5, lateness=1),
        Join(parts=PARTS, mode=JoinMode.ABSENCE, at_least=2, window=3),
        Join(parts=PARTS, mode=JoinMode.ABSENCE, at_least=2, window=3, lookback=2),
    ],
    "debounce": [Debounce(period=2), Debounce(period=2, max_wait=4)],
    "batch": [Batch(period=4, size=3), Batch(period=2, size=10)],
    "throttle": [Throttle(limit=1, period=3), Throttle(limit=2, period=4)],
    "concurrency": [Concurrency(limit=limit, when_full=when) for when in WhenFull for limit in (1, 2)],
    "cancel_on": [CancelOn(rule=RULE)],
}
PAIRS = [*itertools.combinations(SETTINGS, 2)]
TRIPLES = [*itertools.combinations(SETTINGS, 3)]


class Rows:
    """What a database holds of one pipeline, and the runs that have not ended."""

    def __init__(self) -> None:
        self.held: dict[int, HeldEvent] = {}
        self.memory: dict[MemoryKey, Remembered] = {}
        self.live: dict[str, str] = {}

    def save(self, pipeline: Pipeline) -> None:
        for member in pipeline.changes():
            if member.stage is not None:
                self.held[member.position] = held_row(member, "t")
                member.stored = True
            elif member.stored:
                del self.held[member.position]
        for row in pipeline.memory.changed():
            self.memory[row.trigger, row.stage, row.key] = row
        for run, keys in pipeline.live.items():
            self.live[run] = orjson.dumps([keys.slot, dict(keys.open), keys.cancel]).decode()
        self.live = {run: text for run, text in self.live.items() if run in pipeline.live}

    def load(self, spec: Admission, now: int, remembers: int) -> Pipeline:
        memory = Memory(remembers)
        memory.adopt(self.memory.values())
        pipeline = Pipeline("t", spec, memory=memory)
        live = {}
        for run, text in self.live.items():
            slot, opened, cancel = orjson.loads(text)
            live[run] = LiveKeys(slot=slot, open=opened, cancel=cancel)
        pipeline.restore(restored(list(self.held.values())), live, now)
        return pipeline


class Play:
    """The same happenings for the model and for the pipeline; runs take as long as they are told to."""

    def __init__(self, spec: Admission, *, restarts: Iterable[int] = (), remembers: int = 50_000) -> None:
        self.spec = spec
        self.remembers = remembers
        self.model = Model(spec)
        self.rows = Rows()
        self.pipeline = Pipeline("t", spec, memory=Memory(remembers))
        self.restarts = set(restarts)
        self.kinds: dict[int, str] = {}
        self.started: list[tuple[int, int, list[int]]] = []
        self.ends: dict[int, int] = {}
        self.cancelled: set[int] = set()

    def collect(self, now: int, lasts: dict[int, int]) -> None:
        decisions = self.pipeline.decisions
        for member, kind, _, _ in decisions.settled:
            assert member.position not in self.kinds, "two dispositions"
            self.kinds[member.position] = kind.value
        for item in decisions.starts:
            lead = item.lead.position
            for member in item.members:
                assert member.position not in self.kinds, "two dispositions"
                self.kinds[member.position] = (
                    "run" if member is item.lead else str(member.tag and member.tag.value)
                )
            self.started.append((now, lead, [member.position for member in item.members]))
            self.ends[lead] = now + lasts.get(lead, 3)
        for run in decisions.cancels:
            self.cancelled.add(int(run))
        decisions.settled, decisions.starts, decisions.cancels = [], [], []
        self.rows.save(self.pipeline)
        self.pipeline.memory.trim(now)
        if now in self.restarts:
            self.pipeline = self.rows.load(self.spec, now, self.remembers)
            self.know([], now)
            self.pipeline.ring(now, now)
            again = self.pipeline.decisions
            assert not again.settled, "a restart settled something"
            assert not again.starts, "a restart started something"
            again.cancels = []

    def know(self, members: list[Member], now: int) -> None:
        """What the gate does before anything can go on: read what has been forgotten in memory."""
        memory = self.pipeline.memory
        members = [*members, *self.pipeline.due_members(now, now)]
        wanted = memory.unknown(key for member in members for key in self.pipeline.remembered_by(member))
        memory.adopt([self.rows.memory[key] for key in wanted if key in self.rows.memory], wanted)

    def run(self, events: list[tuple[int, Event | str]], lasts: dict[int, int]) -> None:
        last = max([at for at, _ in events], default=0) + 40
        for now in range(last):
            self.model.tick(now)
            self.know([], now)
            self.pipeline.ring(now, now)
            self.collect(now, lasts)
            for lead in sorted(
                lead for lead, end in self.ends.items() if end <= now or lead in self.cancelled
            ):
                if now == next(at for at, number, _ in self.started if number == lead):
                    continue  # a run that began in this moment ends in the next one
                del self.ends[lead]
                self.cancelled.discard(lead)
                self.model.end(lead)
                self.know([], now)
                self.pipeline.ended(str(lead), now, now)
                self.collect(now, lasts)
            for at, event in events:
                if at == now:
                    self.happen(event, now)
                    self.model.tick(now)
                    self.know([], now)
                    self.pipeline.ring(now, now)
                    self.collect(now, lasts)
            unwanted = set(self.model.unwanted())
            assert unwanted <= self.cancelled | self.ends.keys()
            self.cancelled |= unwanted & self.ends.keys()
            self.compare(now)

    def happen(self, event: Event | str, now: int) -> None:
        if isinstance(event, str):
            if self.spec.cancel_on is not None:
                unwanted = set(self.model.cancel(event))
                self.know(self.pipeline.members_beside(event), now)
                self.pipeline.cancel_key(event, 0, now, now)
                assert {int(run) for run in self.pipeline.decisions.cancels} >= unwanted
            return
        self.model.come(event)
        keys = tuple(
            event.key if stage in (Stage.IDEMPOTENCY, Stage.DEBOUNCE) else event.other for stage in Stage
        )
        member = Member(
            event.number,
            now,
            str(event.number),
            keys=keys,
            cancel_key=event.key,
            priority=event.priority,
            part=event.part,
        )
        self.know([member], now)
        self.pipeline.admit(member, now, now)

    def compare(self, now: int) -> None:
        assert self.kinds == self.model.kinds, f"at {now}"
        assert sorted(self.started) == sorted(self.model.started), f"at {now}"
        assert set(self.rows.held) == self.model.held, f"at {now}"


def make(names: Iterable[str], choice: random.Random) -> Admission:
    return Admission(**{name: choice.choice(SETTINGS[name]) for name in names})


def happenings(choice: random.Random, count: int) -> list[tuple[int, Event | str]]:
    found: list[tuple[int, Event | str]] = []
    at = 0
    for number in range(1, count + 1):
        at += choice.choice([0, 0, 0, 1, 1, 2, 3])
        if choice.random() < 0.1:
            found.append((at, choice.choice("ab")))
            continue
        key, other = choice.choice("ab"), choice.choice("xy")
        found.append((at, Event(number, at, key, other, choice.choice([0, 0, 1]), choice.choice([0, 1]))))
    return found


def play(names: Iterable[str], seed: int, *, restarts: bool, count: int = 25) -> None:
    choice = random.Random(seed)
    spec = make(names, choice)
    events = happenings(choice, count)
    lasts = {number: choice.choice([1, 2, 5, 9]) for number in range(1, count + 1)}
    times = [now for now in range(60) if choice.random() < 0.4] if restarts else []
    remembers = choice.choice([0, 1, 3, 50_000])
    Play(spec, restarts=times, remembers=remembers).run(events, lasts)


@pytest.mark.parametrize("names", [*((name,) for name in SETTINGS), *PAIRS, *TRIPLES], ids="+".join)
def test_settings_together_do_what_the_model_does(names: tuple[str, ...]) -> None:
    for seed in range(12):
        play(names, seed, restarts=False)
        play(names, seed + 1000, restarts=True)


@example(names={"cancel_on", "join", "throttle"}, seed=1471, restarts=False)
@given(names=st.sets(st.sampled_from(sorted(SETTINGS))), seed=st.integers(0, 10**9), restarts=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_settings_together_do_what_the_model_does(names: set[str], seed: int, restarts: bool) -> None:
    play(sorted(names), seed, restarts=restarts, count=40)


PACES = [Throttle(limit=1, period=9), Concurrency(limit=1, when_full=WhenFull.QUEUE)]


def paced(by: Throttle | Concurrency, **others: Any) -> Admission:
    """Lets one run of a key start in 9, be it by its starts or by their ends."""
    name = "throttle" if isinstance(by, Throttle) else "concurrency"
    return Admission(**{name: by}, cancel_on=CancelOn(rule=RULE), **others)


@pytest.mark.parametrize("restarts", [(), range(60)], ids=["goes_on", "restarts"])
@pytest.mark.parametrize("by", PACES, ids=["throttle", "concurrency"])
def test_group_takes_its_turn_by_the_event_that_leads_it_when_its_lead_is_cancelled(
    by: Throttle | Concurrency, restarts: Iterable[int]
) -> None:
    urgent, usual = 1, 0
    events: list[tuple[int, Event | str]] = [
        (0, Event(1, 0, "a", "x", usual)),
        (0, Event(2, 0, "a", "x", usual)),
        (0, Event(3, 0, "a", "x", usual)),
        (0, Event(4, 0, "b", "x", urgent)),
        (0, Event(5, 0, "a", "x", usual)),
        (0, Event(6, 0, "a", "x", urgent)),
        (1, "b"),
    ]
    scene = Play(paced(by, batch=Batch(period=4, size=2)), restarts=restarts)

    scene.run(events, dict.fromkeys(range(10), 9))

    assert scene.started == [(0, 2, [1, 2]), (9, 6, [5, 6]), (18, 3, [3])]


@pytest.mark.parametrize("remembers", [0, 50_000], ids=["forgets", "remembers"])
@pytest.mark.parametrize("restarts", [(), range(60)], ids=["goes_on", "restarts"])
@pytest.mark.parametrize("by", PACES, ids=["throttle", "concurrency"])
def test_group_counts_in_the_limit_of_the_event_that_leads_it_when_its_lead_is_cancelled(
    by: Throttle | Concurrency, restarts: Iterable[int], remembers: int
) -> None:
    events: list[tuple[int, Event | str]] = [
        (0, Event(1, 0, "a", "y", part=0)),
        (0, Event(2, 0, "a", "y", part=1)),
        (2, Event(3, 2, "a", "y", part=0)),
        (2, Event(4, 2, "a", "x", part=0)),
        (2, Event(5, 2, "b", "x", part=1)),
        (2, Event(6, 2, "b", "y", part=1)),
        (4, "b"),  # what waits for y is of x now
        (5, Event(7, 5, "b", "y", part=0)),
        (5, Event(8, 5, "b", "y", part=1)),
        (5, Event(9, 5, "a", "x", part=0)),
        (5, Event(10, 5, "a", "x", part=1)),
    ]
    join = Join(parts=PARTS, mode=JoinMode.ALL, at_least=2, window=4)
    spec = paced(by, join=join, debounce=Debounce(period=1))
    scene = Play(spec, restarts=restarts, remembers=remembers)

    scene.run(events, dict.fromkeys(range(11), 9))

    assert scene.started == [(1, 2, [1, 2]), (4, 4, [3, 4]), (10, 8, [7, 8]), (13, 10, [9, 10])]
    assert scene.pipeline.live == {}


@pytest.mark.parametrize("remembers", [0, 50_000], ids=["forgets", "remembers"])
def test_group_waits_for_the_throttle_of_the_event_that_leads_it_though_its_starts_are_forgotten(
    remembers: int,
) -> None:
    events: list[tuple[int, Event | str]] = [
        (0, Event(1, 0, "a", "y", part=0)),
        (0, Event(2, 0, "a", "y", part=1)),
        (0, Event(3, 0, "c", "x", part=0)),
        (0, Event(4, 0, "c", "x", part=1)),
        (2, Event(5, 2, "a", "y", part=0)),
        (2, Event(6, 2, "a", "x", part=0)),
        (2, Event(7, 2, "b", "x", part=1)),
        (2, Event(8, 2, "b", "y", part=1)),
        (4, "b"),  # what waits for y is of x now, where a run has started at 1
    ]
    join = Join(parts=PARTS, mode=JoinMode.ALL, at_least=2, window=4)
    spec = paced(Throttle(limit=1, period=9), join=join, debounce=Debounce(period=1))
    scene = Play(spec, remembers=remembers)

    scene.run(events, {})

    assert scene.started == [(1, 2, [1, 2]), (1, 4, [3, 4]), (10, 6, [5, 6])]


def test_coalesced_group_takes_its_turn_by_its_newest_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.routing.admission.stages.concurrency.MAX_GROUP", 2)
    spec = Admission(concurrency=Concurrency(limit=1, when_full=WhenFull.COALESCE))
    pipeline = Pipeline("t", spec, memory=Memory())
    for position, priority in enumerate([0, 0, 0, 0, 1], 1):
        pipeline.admit(Member(position, 0, str(position), priority=priority), 0, 0)

    pipeline.ended("1", 1, 1)

    groups = [[member.position for member in item.members] for item in pipeline.decisions.starts]
    assert groups == [[1], [4, 5]]


def test_queue_gives_an_item_once_however_often_its_lead_has_changed() -> None:
    first, second, newest = (Member(position, 0, str(position)) for position in (1, 2, 3))
    changing, other = Item([first], first, 0), Item([second], second, 0)
    queue = Queue()
    queue.put(changing)
    queue.put(other)

    for _ in range(100):
        changing.absorb(Item([newest], newest, 0), DispositionKind.COALESCED_INTO)
        queue.put(changing)
        changing.without(newest)
        queue.put(changing)

    assert [queue.take(), queue.take()] == [changing, other]
    assert not queue
