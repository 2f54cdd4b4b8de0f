"""`/api/v1/audit`: proves for a stretch of the log that of every event there became what had to become of it.

What triggers matched is worked out anew from the events and the definitions that were live at their time, and
compared with what is recorded: exactly one disposition, or one place where the event is held, for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tidemill.api.pages import Position
from tidemill.api.parts import GivenParts, Parts
from tidemill.project.recorded import RecordedTriggers
from tidemill.storage.contract import Became, DispositionKind, HeldEvent

__all__ = ["recorded_at", "router"]

router = APIRouter(prefix="/api/v1", tags=["events"])

#: Findings that one answer lists; all are counted.
_LISTED = 100
#: Compiled versions that are kept for the next question.
_KEPT = 8
#: Sorts after every name.
_LAST_NAME = "\x7f"
_compiled: dict[str, RecordedTriggers] = {}


class AuditFinding(BaseModel):
    """Something that does not balance."""

    position: int
    trigger: str
    finding: str = Field(
        description="missing: matched, and nothing became of it; unexpected: something became of what did not "
        "match; doubled: it is held and has a disposition; run_missing: it started a run that is not there."
    )


class AuditReport(BaseModel):
    """What a stretch of the log adds up to."""

    first: int = Field(description="Position of the first event looked at; 0 when there was none.")
    last: int = Field(description="Position of the last event looked at; ask for what is after it next.")
    complete: bool = Field(description="Whether this is the end of what is routed.")
    events: int = Field(description="Events looked at.")
    unmatched: int = Field(description="Events that no trigger took.")
    matched: int = Field(description="Pairs of event and trigger that matched it.")
    held: int = Field(description="Pairs that wait in a stage of admission.")
    dispositions: dict[str, int] = Field(description="Pairs by what became of them.")
    unexplained: int = Field(description="Events of which the definitions of their time are not kept.")
    findings: list[AuditFinding] = Field(description="What does not balance; empty when everything does.")
    wrong: int = Field(description="Number of findings, listed or not.")


@router.get("/audit", summary="Prove that every event is accounted for")
async def audit(
    parts: GivenParts,
    after: Annotated[Position, Query(description="Only positions above this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="Most events looked at.")] = 5000,
) -> AuditReport:
    """Work out anew what had to become of each event, and compare it with what is recorded."""
    store = parts.store
    routed = store.log.routed
    events = [one for one in await store.log.read(after, limit) if one.position <= routed]
    if not events:
        return _report(0, after, complete=True)
    first, last = events[0].position, events[-1].position
    became: dict[int, list[Became]] = {}
    for one in await store.keeping.became(first, last):
        became.setdefault(one.disposition.position, []).append(one)
    held: dict[int, list[str]] = {}
    for waiting in await _held(parts, first, last):
        held.setdefault(waiting.position, []).append(waiting.trigger)
    report = _report(first, last, complete=last >= routed)
    kinds: Counter[str] = Counter()
    for logged in events:
        recorded = became.get(logged.position, [])
        waits = held.get(logged.position, [])
        triggers = await recorded_at(parts, logged.position)
        kinds.update(one.disposition.kind.value for one in recorded)
        report.events += 1
        report.held += len(waits)
        if triggers is None:
            report.unexplained += 1
            continue
        expected = triggers.asked(logged.event)
        report.matched += len(expected)
        report.unmatched += not expected
        _compare(logged.position, expected, recorded, waits, triggers.unknown, report)
    report.dispositions = dict(sorted(kinds.items()))
    return report


async def recorded_at(parts: Parts, position: int) -> RecordedTriggers | None:
    """The triggers that were live when the event at `position` was routed; None where they are not kept."""
    under = await parts.store.definitions.at(position)
    if under is None:
        return None
    if under.version not in _compiled:
        written = await parts.store.definitions.written(under.version)
        if written is None:
            return None
        while len(_compiled) >= _KEPT:
            del _compiled[next(iter(_compiled))]
        _compiled[under.version] = RecordedTriggers(written)
    return _compiled[under.version]


async def _held(parts: Parts, first: int, last: int) -> list[HeldEvent]:
    found: list[HeldEvent] = []
    after = (first - 1, _LAST_NAME)
    while page := await parts.store.admissions.held(after=after, limit=1000):
        found += [one for one in page if one.position <= last]
        after = (page[-1].position, page[-1].trigger)
        if page[-1].position > last:
            break
    return found


def _compare(
    position: int,
    expected: Sequence[str],
    recorded: Sequence[Became],
    waits: Sequence[str],
    unknown: Sequence[str],
    report: AuditReport,
) -> None:
    for trigger, finding in _findings(expected, recorded, waits, unknown):
        report.wrong += 1
        if len(report.findings) < _LISTED:
            report.findings.append(AuditFinding(position=position, trigger=trigger, finding=finding))


def _findings(
    expected: Sequence[str], recorded: Sequence[Became], waits: Sequence[str], unknown: Sequence[str]
) -> Iterator[tuple[str, str]]:
    became = {one.disposition.trigger for one in recorded}
    for trigger in sorted({*expected} - became - {*waits}):
        yield trigger, "missing"
    for trigger in sorted((became | {*waits}) - {*expected} - {*unknown}):
        yield trigger, "unexpected"
    for trigger in sorted(became & {*waits}):
        yield trigger, "doubled"
    for one in recorded:
        if one.disposition.kind is DispositionKind.RUN and one.dag is None:
            yield one.disposition.trigger, "run_missing"


def _report(first: int, last: int, *, complete: bool) -> AuditReport:
    return AuditReport(
        first=first,
        last=last,
        complete=complete,
        events=0,
        unmatched=0,
        matched=0,
        held=0,
        dispositions={},
        unexplained=0,
        findings=[],
        wrong=0,
    )
