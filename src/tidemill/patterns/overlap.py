"""What can be proven of two alternatives without an event: one covers the other, or nothing passes both. Pure.

Both answers are proofs: False says only that there is none here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidemill.patterns.condition import (
    Absent,
    Alternative,
    Between,
    Equals,
    Like,
    Other,
    Prefix,
    Present,
    Suffix,
    Wildcard,
    Within,
    compile_test,
)

__all__ = ["are_disjoint", "covers", "is_covered", "is_empty"]

#: Alternatives that only texts pass.
_TEXTS = (Like, Prefix, Suffix, Wildcard, Within)
#: Choices of one alternative from each constraint that are looked at.
_MAX_CHOICES = 1_000


def is_covered(narrow: Sequence[Alternative], wide: Sequence[Alternative]) -> bool:
    """Whether everything that passes one of `narrow` passes one of `wide`."""
    return all(_is_covered_by_any(one, wide) for one in narrow)


def _is_covered_by_any(one: Alternative, wide: Sequence[Alternative]) -> bool:
    return any(covers(other, one) for other in wide)


def covers(wide: Alternative, narrow: Alternative) -> bool:
    """Whether everything that passes `narrow` passes `wide`."""
    if wide == narrow:
        return True
    match wide, narrow:
        case (Absent(), _) | (_, Absent()):
            return False
        case Present(), _:
            return True
        case _, Equals(value):
            return compile_test([wide])(value)
        case Prefix(whole), Prefix(text):
            return text.startswith(whole)
        case Suffix(whole), Suffix(text):
            return text.endswith(whole)
        case Between(), Between():
            return wide.low <= narrow.low and narrow.high <= wide.high
        case Within(outer), Within(inner):
            same = outer.version == inner.version and outer.bits <= inner.bits
            return same and inner.prefix >> (inner.bits - outer.bits) == outer.prefix
        case Other(excluded), Other(more):
            return is_covered(excluded, more)
        case Other(excluded), _:
            return all(are_disjoint(one, narrow) for one in excluded)
    return False


def are_disjoint(one: Alternative, other: Alternative) -> bool:
    """Whether no value, and no absence, passes both."""
    return _is_apart(one, other) or _is_apart(other, one)


def _is_apart(one: Alternative, other: Alternative) -> bool:
    match one, other:
        case Absent(), Absent():
            return False
        case Absent(), _:
            return True
        case Equals(value), _ if not isinstance(other, Absent):
            return not compile_test([other])(value)
        case Other(excluded), _ if not isinstance(other, Absent):
            return _is_covered_by_any(other, excluded)
        case Prefix(text), Prefix(more):
            return not (text.startswith(more) or more.startswith(text))
        case Suffix(text), Suffix(more):
            return not (text.endswith(more) or more.endswith(text))
        case Between(), Between():
            return one.high < other.low or other.high < one.low
        case Between(), _:
            return isinstance(other, _TEXTS)
        case Within(block), Within(more):
            return block.version != more.version or not (covers(one, other) or covers(other, one))
    return False


def is_empty(constraints: Iterable[Sequence[Alternative]]) -> bool:
    """Whether no value, and no absence, passes one alternative of each constraint."""
    left: list[tuple[Alternative, ...]] = [()]
    for alternatives in constraints:
        left = [
            (*chosen, one)
            for chosen in left
            for one in alternatives
            if not any(are_disjoint(one, earlier) for earlier in chosen)
        ]
        if len(left) > _MAX_CHOICES:
            return False
    return not left
