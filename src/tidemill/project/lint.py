"""What is allowed in a project's triggers and probably a mistake, proven without any event.

Every finding is certain as far as it goes: rules are only called contradictory, shadowed or unfed where that is proven.
What people post may be of any type that is not reserved, so only rules on reserved types can have nothing that feeds
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import orjson

from tidemill.patterns.analysis import Analysis
from tidemill.patterns.rule import Rule
from tidemill.project.event_flow import loops
from tidemill.project.model import Project, Trigger
from tidemill.project.producers import producers

__all__ = ["Finding", "FindingKind", "lint"]

#: Pairs of triggers with one DAG and the same parameters that are compared.
_MAX_PAIRS = 200_000


class FindingKind(StrEnum):
    """What is probably a mistake."""

    NEVER_TRUE = "never_true"
    IDENTICAL = "identical"
    SHADOWED = "shadowed"
    UNFED = "unfed"
    UNTAKEN = "untaken"
    LOOP = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is probably a mistake."""

    kind: FindingKind
    #: Of the trigger, source, derivation or subscription.
    name: str
    message: str
    #: Others that it is about.
    others: Sequence[str] = ()
    file: str = ""
    line: int = 0

    @property
    def finding(self) -> str:
        """The kind as a word."""
        return self.kind.value


@dataclass(frozen=True, slots=True)
class _Ruled:
    """Something with a rule."""

    what: str
    name: str
    file: str
    line: int
    analysis: Analysis

    def finding(self, kind: FindingKind, message: str, *others: str) -> Finding:
        return Finding(
            kind=kind, name=self.name, message=message, others=others, file=self.file, line=self.line
        )


def lint(project: Project) -> list[Finding]:
    """Everything that is found, by kind."""
    ruled = list(_ruled(project))
    return [
        *_never_true(project, ruled),
        *_shadowed(project, ruled),
        *_unfed(project, ruled),
        *_untaken(project, ruled),
        *(
            Finding(kind=FindingKind.LOOP, name=one.name, message=one.message, others=one.others)
            for one in loops(project, {one.name: one.analysis for one in ruled if one.what == "trigger"})
        ),
    ]


def _ruled(project: Project) -> Iterator[_Ruled]:
    kinds = (
        ("trigger", project.triggers),
        ("derivation", project.derivations),
        ("subscription", project.subscriptions),
    )
    for what, things in kinds:
        for one in things:
            yield _Ruled(what, one.name, one.file, one.line, Analysis(one.rule))


def _never_true(project: Project, ruled: Sequence[_Ruled]) -> Iterator[Finding]:
    for one in ruled:
        if (reason := one.analysis.contradiction) is not None:
            yield one.finding(FindingKind.NEVER_TRUE, f"no event can match this {one.what}: {reason}")
    for trigger in project.triggers:
        for part, rule in _inner_rules(trigger):
            if (reason := Analysis(rule).contradiction) is not None:
                yield Finding(
                    kind=FindingKind.NEVER_TRUE,
                    name=trigger.name,
                    message=f"no event can match {part} of its admission: {reason}",
                    file=trigger.file,
                    line=trigger.line,
                )


def _inner_rules(trigger: Trigger) -> Iterator[tuple[str, Rule]]:
    spec = trigger.admission
    if spec is not None and spec.join is not None:
        yield from ((f"the join's {part.name!r}", part.rule) for part in spec.join.parts)
    if spec is not None and spec.cancel_on is not None:
        yield "cancel_on", spec.cancel_on.rule


def _shadowed(project: Project, ruled: Sequence[_Ruled]) -> Iterator[Finding]:
    """Triggers that start the same as another one for every event."""
    by_name = {one.name: one for one in ruled if one.what == "trigger"}
    written = {entry["name"]: entry for kind, entry in project.written if kind == "triggers"}
    groups: dict[bytes, list[_Ruled]] = {}
    for trigger in project.triggers:
        one = by_name[trigger.name]
        if not trigger.paused and one.analysis.contradiction is None:
            groups.setdefault(_starts(written.get(trigger.name, {})), []).append(one)
    left = _MAX_PAIRS
    for group in groups.values():
        for first, second in combinations(group, 2):
            left -= 1
            if left < 0:
                return
            yield from _compared(first, second)


def _starts(written: Mapping[str, Any]) -> bytes:
    """What a trigger starts, and how: two that agree in it do the same for an event that both match."""
    facts = [written.get(name) for name in ("dag", "parameters", "enrich", "admission")]
    return orjson.dumps(facts, option=orjson.OPT_SORT_KEYS, default=str)


def _compared(first: _Ruled, second: _Ruled) -> Iterator[Finding]:
    forth, back = first.analysis.implies(second.analysis), second.analysis.implies(first.analysis)
    if forth and back:
        message = (
            f"matches exactly what {first.name!r} matches and starts the same: each event starts two runs"
        )
        yield second.finding(FindingKind.IDENTICAL, message, first.name)
    elif forth or back:
        narrow, wide = (first, second) if forth else (second, first)
        message = f"everything that it matches {wide.name!r} matches too and starts the same: two runs for each event"
        yield narrow.finding(FindingKind.SHADOWED, message, wide.name)


def _unfed(project: Project, ruled: Sequence[_Ruled]) -> Iterator[Finding]:
    facts = [one.facts for one in producers(project)]
    for one in ruled:
        if one.what == "subscription" or one.analysis.contradiction is not None:
            continue
        if not any(one.analysis.may_match(known) for known in facts):
            yield one.finding(
                FindingKind.UNFED,
                "asks for a reserved type, and no source, DAG, schedule or derivation of the project makes such an "
                "event; nobody may post it",
            )


def _untaken(project: Project, ruled: Sequence[_Ruled]) -> Iterator[Finding]:
    takers = [one.analysis for one in ruled]
    takers += [Analysis(rule) for trigger in project.triggers for _, rule in _inner_rules(trigger)]
    for one in producers(project):
        if one.kind not in ("source", "derivation") or one.is_open:
            continue
        if not any(analysis.may_match(one.facts) for analysis in takers):
            types = " or ".join(str(known) for known in one.facts["type"])
            yield Finding(
                kind=FindingKind.UNTAKEN,
                name=one.name,
                message=f"no trigger, derivation or subscription takes the events of this {one.kind} (type {types})",
                file=one.file,
                line=one.line,
            )
