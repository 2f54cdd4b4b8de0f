"""The log: what was acknowledged is in it once, what was refused is not, and the clock tells no tick early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from tidemill.testing.simulation.evidence import Evidence, Logged
from tidemill.testing.simulation.scenario import Scenario

__all__ = ["broken"]

_OURS = ("/tidemill/", "/http", "/stream", "/folder")


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong with the log."""
    by_identity: dict[tuple[str, str], Logged] = {}
    for place, event in enumerate(evidence.events, 1):
        if event.position != place:
            yield f"log: position {event.position} stands where {place} should"
            return
        identity = (event.source, event.id)
        if identity in by_identity:
            yield f"log: {identity} is in the log at {by_identity[identity].position} and {event.position}"
        by_identity[identity] = event
    yield from _answers(evidence, by_identity)
    yield from _contents(scenario, evidence, by_identity)
    yield from _ticks(evidence)


def _answers(evidence: Evidence, log: dict[tuple[str, str], Logged]) -> Iterator[str]:
    first: dict[tuple[str, str], int] = {}
    for answer in evidence.observed.answers:
        identity = (answer.source, answer.id)
        event = log.get(identity)
        if event is None:
            yield f"log: {identity} was acknowledged and is not in the log"
            continue
        if evidence.commits[event.commit].at_us > answer.at_us:
            yield f"log: {identity} was acknowledged before its commit"
        if answer.position is not None and answer.position != event.position:
            yield f"log: {identity} is at {event.position}, and its sender was told {answer.position}"
        if first.setdefault(identity, event.position) and answer.position not in (None, first[identity]):
            yield f"log: {identity} was answered with two positions"
    for identity in evidence.observed.reused:
        if identity not in log:
            yield f"log: {identity} was refused as used, and is not in the log"


def _contents(scenario: Scenario, evidence: Evidence, log: dict[tuple[str, str], Logged]) -> Iterator[str]:
    for identity in evidence.observed.sent:
        if identity not in log:
            yield f"log: {identity} was sent until it was safe, and is not in the log"
    sent = {f"m{message.number}": message for message in scenario.messages}
    for event in evidence.events:
        if event.type.startswith("app."):
            message = sent.get(event.id)
            if message is None or (event.source, event.id) not in evidence.observed.sent:
                yield f"log: nobody sent {event.source} {event.id}"
            elif event.data != {"number": message.number, "key": message.key}:
                yield f"log: {event.id} has other data than was sent first: {event.data}"
    letters = Counter(
        (place["partition"], place["offset"]) for stage, _, _, place in evidence.letters if stage == "kafka"
    )
    for record in evidence.observed.bad_records:
        if letters[record] != 1:
            yield f"log: record {record}, which is no event, has {letters[record]} dead letters"
    if extra := letters.keys() - set(evidence.observed.bad_records):
        yield f"log: records {sorted(extra)} have dead letters and are events"


def _ticks(evidence: Evidence) -> Iterator[str]:
    for event in evidence.events:
        if event.type == "dev.tidemill.schedule.tick.v1":
            due = datetime.fromisoformat(event.data["scheduled_at"]).timestamp() * 1_000_000
            if event.received_at < due - 1:
                yield f"log: tick {event.id} was told {due - event.received_at:g} us early"
