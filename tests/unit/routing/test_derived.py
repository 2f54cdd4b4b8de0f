"""What derivations make of events, and what is looked up for them, as the router asks for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.filters import compile_filters
from tidemill.project.derivation import Derivation
from tidemill.project.enrichment import Enrichment, EnrichmentFailed
from tidemill.project.mapping import compile_mapping, compile_template
from tidemill.project.model import Project, Trigger
from tidemill.routing.derived import Derivations, Derived
from tidemill.routing.enriched import Enriched
from tidemill.testing.clock import ManualClock


def logged(position: int = 1, type: str = "a", data: Any = None, **extensions: Any) -> LoggedEvent:  # noqa: A002
    event = Event(
        id=f"e{position}", source="/s", type=type, data=data or {"n": position}, extensions=extensions
    )
    return LoggedEvent(position, 0, event)


def derivation(name: str = "d", **members: Any) -> Derivation:
    written = members.pop("event", {"type": "made", "source": "/made"})
    attributes = {key: compile_template(value, enriched=["who"]) for key, value in written.items()}
    rule = compile_filters([{"exact": {"type": "a"}}])
    return Derivation(name=name, rule=rule, attributes=attributes, **members)


def project(*derivations: Derivation, triggers: Any = ()) -> Project:
    return Project(
        root=Path("/"),
        dags={},
        triggers=triggers,
        subscriptions=(),
        sources=(),
        version="1",
        derivations=derivations,
    )


def enrichment(function: Callable[..., Any]) -> Enrichment:
    return Enrichment(
        name="who",
        reference=f"m:{function.__name__}",
        function=function,
        arguments=compile_mapping({"n": "$.data.n"}),
        ttl=timedelta(0),
    )


async def answer(n: int) -> dict[str, int]:
    if n == 2:
        raise LookupError("two is not known")
    return {"n": n * 10}


def derive(
    found: Project, *events: LoggedEvent, enriched: Enriched | None = None, max_hops: int = 16
) -> Derived:
    derivations = Derivations(found, enriched or Enriched(found, clock=ManualClock()), max_hops=max_hops)
    into = Derived()
    for one in events:
        derivations.derive(one, 7, into)
    return into


def test_each_derivation_that_matches_makes_one_event() -> None:
    found = project(derivation("d1"), derivation("d2"), derivation("off", paused=True))

    into = derive(found, logged(1), logged(2, "other"))

    assert [(event.type, event.extensions["causationid"], at) for event, at in into.events] == [
        ("made", "e1", 7),
        ("made", "e1", 7),
    ]
    assert len({event.id for event, _ in into.events}) == 2
    assert not into.dead_letters


@pytest.mark.parametrize(("hops", "made"), [(14, 1), (15, 1), (16, 0)])
def test_derivations_stop_where_runs_do(hops: int, made: int) -> None:
    into = derive(project(derivation()), logged(hopcount=hops))

    assert len(into.events) == made
    assert [letter.code for letter in into.dead_letters] == ["loop_limit"] * (1 - made)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "$.data.none", "source": "/x"}, "mapping_failed"),
        ({"type": "$.data.own", "source": "/x"}, "reserved_type"),
        ({"type": "x", "source": "$.data.space"}, "invalid_cloudevent"),
    ],
)
def test_what_cannot_be_made_is_a_dead_letter_of_its_cause(event: dict[str, str], code: str) -> None:
    data = {"own": "dev.tidemill.run.failed.v1", "space": "not a uri"}

    into = derive(project(derivation(event=event)), logged(3, data=data))

    (letter,) = into.dead_letters
    assert (letter.code, letter.stage, letter.origin, letter.position) == (code, "routing", "d", 3)
    assert letter.coordinates["derivation"] == "d"


def test_replay_to_some_triggers_derives_nothing() -> None:
    assert not derive(project(derivation()), logged(replayto="t")).events


async def test_values_are_looked_up_for_what_events_match_and_told_where_they_fail() -> None:
    one = derivation(event={"type": "made", "source": "/made", "ten": "$.enriched.who.n"})
    one = Derivation(name="d", rule=one.rule, attributes=one.attributes, enrichments=[enrichment(answer)])
    trigger = Trigger(name="d", rule=one.rule, dag="x", enrichments=[enrichment(answer)])
    found = project(one, triggers=[trigger])
    enriched = Enriched(found, clock=ManualClock())
    events = [logged(1), logged(2), logged(3, "other")]

    await enriched.prepare(events)
    into = derive(found, *events, enriched=enriched)

    assert enriched.is_used
    assert [event.extensions["ten"] for event, _ in into.events] == [10]
    assert [(letter.code, letter.position) for letter in into.dead_letters] == [("enrichment_failed", 2)]
    assert enriched.lookup(trigger, events[0])["enriched"] == {"who": {"n": 10}}
    with pytest.raises(EnrichmentFailed, match="two is not known"):
        enriched.lookup(trigger, events[1])


async def test_values_of_events_that_were_held_are_looked_up_when_they_go_on() -> None:
    rule = compile_filters([])
    trigger = Trigger(name="t", rule=rule, dag="x", enrichments=[enrichment(answer)])
    plain = Trigger(name="p", rule=rule, dag="x")
    enriched = Enriched(project(triggers=[trigger, plain]), clock=ManualClock())
    held = logged(5)

    with pytest.raises(EnrichmentFailed, match="nothing was looked up"):
        enriched.lookup(trigger, held)
    await enriched.prepare_for(trigger, [held])
    await enriched.prepare_for(plain, [held])

    assert enriched.lookup(trigger, held)["enriched"] == {"who": {"n": 50}}
    assert enriched.lookup(plain, held)["data"] == {"n": 5}


def test_project_without_enrichments_looks_nothing_up() -> None:
    assert not Enriched(project(derivation()), clock=ManualClock()).is_used
