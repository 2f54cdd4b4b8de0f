"""A compiled rule, and the error that refuses one as written. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.errors import TidemillError
from tidemill.events import json_format
from tidemill.events.event import JSON, Event
from tidemill.patterns.expression import (
    Check,
    Every,
    Expression,
    compile_check,
    compile_json_check,
)

__all__ = ["MAX_DEPTH", "MAX_LEAVES", "PatternError", "Problems", "Rule", "child", "combine", "make_rule"]

#: Deepest nesting of a rule as written.
MAX_DEPTH = 32
#: Most values that one rule may state.
MAX_LEAVES = 1_000
#: Most problems that one refusal lists.
_MAX_PROBLEMS = 100


class PatternError(TidemillError):
    """A rule as written is refused whole; `problems` holds every problem as (JSON pointer into it, sentence).

    `pointer` and `message` are those of the first problem. The author must correct the rule.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems: tuple[tuple[str, str], ...] = tuple(problems)
        self.pointer, self.message = self.problems[0]
        super().__init__(
            "; ".join(f"{pointer or 'the rule'}: {message}" for pointer, message in self.problems)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that says which events match; made by `compile_filters`, `compile_pattern` and `combine`.

    Two rules are equal when the same was written, in the same dialect.
    """

    #: What it was written in and what was written, as one text; the rule's identity.
    text: str
    #: What the rule says, for `Index` and `explain`.
    expression: Expression = field(compare=False, repr=False)
    _written: JSON = field(compare=False, repr=False)
    _check: Check = field(compare=False, repr=False)

    def matches(self, event: Event) -> bool:
        """Whether `event` matches; it never raises."""
        return self._check(event)

    def matches_json(self, value: Mapping[str, JSON]) -> bool:
        """Whether a JSON object matches: any object for a pattern, a CloudEvent in JSON format for filters.

        Raises `EventRejected` where filters are asked about an object that is no CloudEvent.
        """
        check = compile_json_check(self.expression)
        return check(value) if check is not None else self._check(json_format.from_json(value))

    def to_json(self) -> JSON:
        """What was written (for a combined rule: the list of what its parts were)."""
        return copy.deepcopy(self._written)


def make_rule(dialect: str, written: JSON, expression: Expression) -> Rule:
    """The rule that says `expression`, which is valid, and was written as `written`."""
    return Rule(
        text=f"{dialect} {json.dumps(written, sort_keys=True)}",
        expression=expression,
        _written=copy.deepcopy(written),
        _check=compile_check(expression),
    )


def combine(*rules: Rule) -> Rule:
    """The rule that matches what all of `rules` match (none: every event)."""
    if len(rules) == 1:
        return rules[0]
    return Rule(
        text=f"combined {json.dumps([rule.text for rule in rules])}",
        expression=(expression := Every(tuple(rule.expression for rule in rules))),
        _written=[rule.to_json() for rule in rules],
        _check=compile_check(expression),
    )


class Problems:
    """What is wrong with one rule as written, collected while it is compiled; counts its leaves."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []
        self._leaves = 0

    def add(self, pointer: str, message: str) -> None:
        """Note one problem."""
        if len(self._found) < _MAX_PROBLEMS:
            self._found.append((pointer, message))

    def is_too_deep(self, depth: int, pointer: str) -> bool:
        """Whether `depth` is past the limit; notes it when it is."""
        if depth > MAX_DEPTH:
            self.add(pointer, f"nested more than {MAX_DEPTH} deep")
        return depth > MAX_DEPTH

    def count(self, leaves: int) -> None:
        """Count values that the rule states."""
        self._leaves += leaves

    def raise_any(self) -> None:
        """Raise `PatternError` with everything that was noted."""
        if self._leaves > MAX_LEAVES:
            self.add("", f"states {self._leaves} values, more than {MAX_LEAVES}")
        if self._found:
            raise PatternError(self._found)


def child(pointer: str, key: str | int) -> str:
    """The JSON pointer (RFC 6901) of `key` below `pointer`."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
