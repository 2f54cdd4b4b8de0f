"""Content patterns: an object shaped like the event, with lists of alternatives at its leaves. Pure.

1. What is not understood is refused; nothing is ever skipped.
2. Of a field that is written twice ({"a.b": …, "a": {"b": …}}, or beside and inside `$or`) the last one counts,
   in the order in which the pattern is written, as in event-ruler.
"""

from __future__ import annotations

from tidemill.events.event import JSON
from tidemill.patterns.branches import make_branch
from tidemill.patterns.condition import Alternative, quote
from tidemill.patterns.expression import Clause
from tidemill.patterns.operators import Refusal, parse_alternative
from tidemill.patterns.rule import Problems, Rule, child, make_rule

__all__ = ["MAX_COMBINATIONS", "RESERVED", "compile_pattern"]

#: Most fields that the branches of a rule have together; what is written has fewer, `$or` multiplies them.
MAX_COMBINATIONS = 40_000
#: Names that are no fields inside `$or`: operators, and what event-ruler keeps for operators to come.
RESERVED = frozenset(
    {
        "exactly",
        "equals-ignore-case",
        "prefix",
        "suffix",
        "anything-but",
        "exists",
        "wildcard",
        "numeric",
        "cidr",
        "=",
        "<",
        "<=",
        ">",
        ">=",
        "regex",
        "not-wildcard",
        "not-equals-ignore-case",
        "date-after",
        "date-on-or-after",
        "date-before",
        "date-on-or-before",
        "in-date-range",
        "ip-address-in-range",
        "ip-address-not-in-range",
    }
)

_OR = "$or"
#: Fields by path: one branch on its way.
_Fields = dict[str, tuple[Alternative, ...]]


def compile_pattern(pattern: JSON) -> Rule:
    """The rule that a content pattern states about the whole event in its JSON form.

    Raises `PatternError` with every problem.
    """
    problems = Problems()
    compiler = _Compiler(problems)
    try:
        branches = compiler.object(pattern, "", path=None, depth=1, branches=[{}])
    except _TooManyCombinations:
        problems.add("", "$or makes too many combinations with what stands beside it; split the rule")
        branches = []
    problems.raise_any()
    return make_rule("pattern", pattern, Clause(tuple(make_branch(fields) for fields in branches)))


class _TooManyCombinations(Exception):  # noqa: N818 - carries one problem to the compiler
    pass


class _Compiler:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._fields = 0
        self._in_or = 0

    def object(
        self, written: JSON, pointer: str, *, path: str | None, depth: int, branches: list[_Fields]
    ) -> list[_Fields]:
        """`branches` with the fields of one object added to each."""
        problems = self._problems
        if problems.is_too_deep(depth, pointer):
            return branches
        if not isinstance(written, dict) or not written:
            problems.add(pointer, f"must be a non-empty object of fields, not {quote(written)}")
            return branches
        for key, value in written.items():
            if not isinstance(key, str):
                problems.add(pointer, f"a field name must be a string, not {quote(key)}")
                continue
            below = child(pointer, key)
            if key == _OR:
                branches = self._or(value, below, path=path, depth=depth, branches=branches)
                continue
            self._check_name(key, below)
            deeper = depth + key.count(".")
            at = key if path is None else f"{path}.{key}"
            if isinstance(value, dict):
                branches = self.object(value, below, path=at, depth=deeper + 1, branches=branches)
            elif not problems.is_too_deep(deeper, below):
                self._count(len(branches))
                alternatives = self._alternatives(value, below)
                for fields in branches:
                    fields[at] = alternatives
        return branches

    def _check_name(self, key: str, pointer: str) -> None:
        if _OR in key.split("."):
            self._problems.add(pointer, "$or is a key of its own, not a part of a path")
        if self._in_or and key in RESERVED:
            self._problems.add(
                pointer, f"{key} names no field inside $or; an operator stands in the list of a field"
            )

    def _alternatives(self, written: JSON, pointer: str) -> tuple[Alternative, ...]:
        if not isinstance(written, list) or not written:
            self._problems.add(
                pointer, f"must be a non-empty list of alternatives or an object, not {quote(written)}"
            )
            return ()
        self._problems.count(sum(_size(one) for one in written))
        alternatives = []
        for place, one in enumerate(written):
            try:
                alternatives.append(parse_alternative(one))
            except Refusal as refusal:
                self._problems.add(child(pointer, place), str(refusal))
        return tuple(alternatives)

    def _or(
        self, written: JSON, pointer: str, *, path: str | None, depth: int, branches: list[_Fields]
    ) -> list[_Fields]:
        if not isinstance(written, list) or len(written) < 2:
            self._problems.add(pointer, "$or takes a list of at least two objects")
            return branches
        arms: list[_Fields] = []
        self._in_or += 1
        for place, arm in enumerate(written):
            self._count(sum(map(len, branches)))
            copies = [dict(fields) for fields in branches]
            arms += self.object(arm, child(pointer, place), path=path, depth=depth + 1, branches=copies)
        self._in_or -= 1
        return arms

    def _count(self, fields: int) -> None:
        self._fields += fields
        if self._fields > MAX_COMBINATIONS:
            raise _TooManyCombinations


def _size(written: JSON) -> int:
    """How many values one alternative states: `anything-but` may list several."""
    values = written.get("anything-but") if isinstance(written, dict) else None
    if isinstance(values, dict) and len(values) == 1:
        (values,) = values.values()
    return max(1, len(values)) if isinstance(values, list) else 1
