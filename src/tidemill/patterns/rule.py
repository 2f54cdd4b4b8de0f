"""A compiled rule, and the error that refuses one as written. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.errors import TidemillError
from tidemill.events import json_format, json_text
from tidemill.events.event import JSON, Event
from tidemill.patterns.expression import (
    Check,
    Every,
    Expression,
    compile_check,
    compile_json_check,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_EXPRESSION",
    "MAX_LEAVES",
    "PatternError",
    "Problems",
    "Rule",
    "child",
    "combine",
    "make_rule",
]

#: Deepest nesting of a rule as written.
MAX_DEPTH = 32
#: Most values that one rule may state.
MAX_LEAVES = 1_000
#: Longest expression of a language, in bytes.
MAX_EXPRESSION = 8 * 1024
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


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A rule that says which events match; made by `compile_*` of the dialects and by `combine`.

    Two rules are equal when the same was written, in the same dialect, in whatever order of fields.
    """

    #: The dialect, or "combined".
    dialect: str
    #: What was written (combined: dialects and texts of the parts), as JSON text.
    text: str
    #: What the rule says, for `Index` and `explain`.
    expression: Expression = field(repr=False)
    #: The check, compiled when it is first asked for: an index compiles its own.
    _compiled: Check | None = field(default=None, init=False, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> str:
        return f"{self.dialect} {json.dumps(self.to_json(), sort_keys=True)}"

    def matches(self, event: Event) -> bool:
        """Whether `event` matches; it never raises."""
        check = self._compiled
        if check is None:
            check = compile_check(self.expression)
            object.__setattr__(self, "_compiled", check)
        return check(event)

    def matches_json(self, value: Mapping[str, JSON]) -> bool:
        """Whether a JSON object matches: any object for a pattern or CEL, else a CloudEvent in JSON format.

        Raises `EventRejected` where attributes are asked about and the object is no CloudEvent.
        """
        check = compile_json_check(self.expression)
        return check(value) if check is not None else self.matches(json_format.from_json(value))

    def to_json(self) -> JSON:
        """What was written (for a combined rule: the list of what its parts were)."""
        return _written(self.dialect, self.text)


def make_rule(dialect: str, written: JSON, expression: Expression) -> Rule:
    """The rule that says `expression`, which is valid, and was written as `written`."""
    return Rule(dialect, json_text.dump(written).decode(), expression)


def combine(*rules: Rule) -> Rule:
    """The rule that matches what all of `rules` match (none: every event)."""
    if len(rules) == 1:
        return rules[0]
    return Rule(
        "combined",
        json.dumps([[rule.dialect, rule.text] for rule in rules]),
        Every(tuple(rule.expression for rule in rules)),
    )


def _written(dialect: str, text: str) -> JSON:
    value = json.loads(text)
    return value if dialect != "combined" else [_written(*part) for part in value]


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

    def has_length(self, expression: str, pointer: str) -> bool:
        """Whether an expression is no longer than the limit; notes it when it is."""
        length = len(expression.encode("utf-8", "surrogatepass"))
        if length > MAX_EXPRESSION:
            self.add(pointer, f"is {length} bytes long, more than {MAX_EXPRESSION}")
        return length <= MAX_EXPRESSION

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
