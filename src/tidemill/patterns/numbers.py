"""Numbers as content patterns compare them: by value, and only where a double keeps the value. Pure.

An integer past 2^53 is comparable when the double next to it, written as briefly as a double can be, has the
same digits; any other is equal to itself and to nothing else, and lies in no range.
"""

from __future__ import annotations

from decimal import Decimal

from tidemill.events.event import JSON

__all__ = ["EXACT", "Key", "key_of", "number_of"]

#: Integers up to this many are doubles without loss.
EXACT = 2**53
#: What stands for a scalar where values are looked up: equal keys, equal values.
Key = str | int | float | None | tuple[bool] | tuple[int, int]


def number_of(value: int | float) -> int | float | None:
    """The number that `value` is compared as; None when it can not be compared."""
    if type(value) is float or -EXACT <= value <= EXACT:
        return value
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == value else None


def key_of(value: JSON) -> Key:
    """What stands for the scalar `value`: 1 and 1.0 are one key, true and "1" are others."""
    kind = type(value)
    if kind is str or value is None or kind is float:
        key: Key = value
        return key
    if kind is int and -EXACT <= value <= EXACT:
        small: int = value
        return small
    if kind is bool:
        return (value,)
    if kind is int:
        number = number_of(value)
        return (value, 0) if number is None else number
    return value if isinstance(value, str) else None
