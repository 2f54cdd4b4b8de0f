"""The one clause form of content patterns: branches of conditions, each condition on one field. Pure.

1. A pattern holds where one of its branches does; `$or` makes branches. A branch holds where all its conditions do.
2. A field is a path of names with dots between; a dot in a name divides like a nesting.
3. Conditions stand as they were written. In arrays, fields are chosen in the order of paths (by UTF-16 unit), which
   decides what `exists: false` speaks of (see `arrays`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidemill.events.event import JSON, Event
from tidemill.patterns import arrays
from tidemill.patterns.condition import Absent, Alternative, Test, compile_test
from tidemill.patterns.members import members_of
from tidemill.patterns.paths import Answer, compile_answer, compile_event_answer

__all__ = ["Branch", "Condition", "compile_branch", "compile_json_branch", "make_branch"]


class Condition(NamedTuple):
    """The values of the field `path` pass one of `alternatives`."""

    path: str
    alternatives: tuple[Alternative, ...]

    @property
    def accepts_absence(self) -> bool:
        """Whether the condition holds where there is no value."""
        return any(isinstance(one, Absent) for one in self.alternatives)

    @property
    def wanted(self) -> str:
        """The alternatives as text."""
        return " or ".join(str(one) for one in self.alternatives)


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """Conditions that must all hold, together."""

    conditions: tuple[Condition, ...]

    def holds_in_arrays(self, event: Event) -> bool:
        """Whether the branch holds for an event that has arrays of objects, or dotted names, on its paths."""
        return arrays.holds(self._sought(), members_of(event, self._first_names()))

    def json_holds_in_arrays(self, value: Mapping[str, JSON]) -> bool:
        """The same for any JSON object."""
        return arrays.holds(self._sought(), value)

    def _sought(self) -> list[arrays.Sought]:
        return [
            arrays.Sought(one.path, compile_test(one.alternatives), one.accepts_absence)
            for one in sorted(self.conditions, key=lambda one: one.path.encode("utf-16-be", "surrogatepass"))
        ]

    def _first_names(self) -> set[str]:
        return {one.path.partition(".")[0] for one in self.conditions}


def make_branch(fields: Mapping[str, tuple[Alternative, ...]]) -> Branch:
    """The branch that asks for `fields`."""
    return Branch(tuple(Condition(path, alternatives) for path, alternatives in fields.items()))


def compile_branch(branch: Branch) -> Callable[[Event], bool]:
    """The function that tells whether an event holds `branch`."""
    return _conjunction(_event_answers(branch.conditions), branch.holds_in_arrays)


def compile_json_branch(branch: Branch) -> Callable[[Mapping[str, JSON]], bool]:
    """The same for any JSON object."""
    answers = [
        compile_answer(one.path.split("."), compile_test(one.alternatives), one.accepts_absence)
        for one in branch.conditions
    ]
    return _conjunction(answers, branch.json_holds_in_arrays)


def _event_answers(conditions: Iterable[Condition]) -> list[Callable[[Event], bool | None]]:
    return [compile_event_answer(one.path, _test(one), one.accepts_absence) for one in conditions]


def _test(condition: Condition) -> Test:
    return compile_test(condition.alternatives)


def _conjunction(answers: list[Answer], in_arrays: Callable[[JSON], bool]) -> Callable[[JSON], bool]:
    def holds(value: JSON) -> bool:
        for answer in answers:
            found = answer(value)
            if not found:
                return found is None and in_arrays(value)
        return True

    return holds
