"""What is filed under the values of one field, found by a value: one small table for each kind of key. Pure.

Values equal: a hash table; prefixes and suffixes: a hash table for each length; blocks of addresses: one for each
number of bits; ranges: an interval tree; inner texts: an Aho-Corasick automaton.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from tidemill.events.event import JSON
from tidemill.patterns.addresses import WIDTHS, Block, parse_address
from tidemill.patterns.anchors import Kind, Sought
from tidemill.patterns.numbers import key_of, number_of
from tidemill.patterns.ranges import Ranges

__all__ = ["Find", "compile_place"]

T = TypeVar("T")
#: Adds to a list what is filed under a scalar.
Find = Callable[[JSON, list[T]], None]
_FindText = Callable[[str, list[Any]], None]

#: Texts up to this many are looked for one by one.
_FEW_TEXTS = 4
#: A text is searched in pieces of this many characters, so that what is found at once stays small.
_WINDOW = 16_384
_ADDRESS_START = frozenset("0123456789abcdefABCDEF:")


def compile_place(filed: Mapping[Kind, Mapping[Sought, T]]) -> Find[T]:
    """The function that finds what is `filed` at one field."""
    equal = dict(filed.get(Kind.EQUALS, {}))
    text_finders = [_TEXT_FINDERS[kind](some) for kind, some in filed.items() if kind in _TEXT_FINDERS]
    ranges = Ranges([(*_ends(key), one) for key, one in filed.get(Kind.RANGE, {}).items()])
    has_ranges = Kind.RANGE in filed
    present = list(filed.get(Kind.PRESENT, {}).values())

    def find(value: JSON, found: list[T]) -> None:
        kind = type(value)
        if isinstance(value, str):
            hit = equal.get(value)
            if hit is not None:
                found.append(hit)
            for find_text in text_finders:
                find_text(value, found)
        else:
            hit = equal.get(key_of(value))
            if hit is not None:
                found.append(hit)
            if has_ranges and (kind is float or kind is int):
                number = number_of(value)
                if number is not None:
                    ranges.find(number, found)
        if present:
            found.extend(present)

    if len(equal) and not text_finders and not has_ranges and not present:
        return _find_equal(equal)
    return find


def _find_equal(equal: dict[Sought, T]) -> Find[T]:
    """The most frequent place."""
    get = equal.get

    def find(value: JSON, found: list[T]) -> None:
        hit = get(value if type(value) is str else key_of(value))
        if hit is not None:
            found.append(hit)

    return find


def _ends(key: Sought) -> tuple[float, float]:
    assert isinstance(key, tuple)  # noqa: S101 - the kind says so
    low, high = key[0], key[-1]
    return low, high


def _by_length(filed: Mapping[Sought, T]) -> list[tuple[int, dict[str, T]]]:
    lengths: dict[int, dict[str, T]] = {}
    for text, one in filed.items():
        lengths.setdefault(len(str(text)), {})[str(text)] = one
    return sorted(lengths.items())


def _prefixes(filed: Mapping[Sought, T]) -> _FindText:
    by_length = _by_length(filed)

    def find(value: str, found: list[T]) -> None:
        longest = len(value)
        for length, by_text in by_length:
            if length > longest:
                break
            hit = by_text.get(value[:length])
            if hit is not None:
                found.append(hit)

    return find


def _suffixes(filed: Mapping[Sought, T]) -> _FindText:
    by_length = _by_length(filed)

    def find(value: str, found: list[T]) -> None:
        longest = len(value)
        for length, by_text in by_length:
            if length > longest:
                break
            hit = by_text.get(value[longest - length :])
            if hit is not None:
                found.append(hit)

    return find


def _likes(filed: Mapping[Sought, T]) -> _FindText:
    by_text = dict(filed)

    def find(value: str, found: list[T]) -> None:
        hit = by_text.get(value)
        if hit is not None:
            found.append(hit)

    return find


def _ignoring_case(compile_finder: Callable[[Mapping[Sought, T]], _FindText]) -> Any:
    """A finder for lower-case texts; what a character above ASCII does to it is settled by the check."""

    def compile_folded(filed: Mapping[Sought, T]) -> _FindText:
        find = compile_finder(filed)
        return lambda value, found: find(value.lower(), found)

    return compile_folded


def _blocks(filed: Mapping[Sought, T]) -> _FindText:
    tables: dict[int, dict[int, dict[int, T]]] = {4: {}, 6: {}}
    for block, one in filed.items():
        assert isinstance(block, Block)  # noqa: S101 - the kind says so
        shift = WIDTHS[block.version] - block.bits
        tables[block.version].setdefault(shift, {})[block.prefix] = one
    by_version = {version: list(shifts.items()) for version, shifts in tables.items()}

    def find(value: str, found: list[T]) -> None:
        if value[:1] not in _ADDRESS_START or (address := parse_address(value)) is None:
            return
        version, number = address
        for shift, by_prefix in by_version[version]:
            hit = by_prefix.get(number >> shift)
            if hit is not None:
                found.append(hit)

    return find


def _inner(filed: Mapping[Sought, T]) -> _FindText:
    texts = [str(text) for text in filed]
    groups = list(filed.values())
    if len(texts) <= _FEW_TEXTS:
        pairs = list(zip(texts, groups, strict=True))

        def find_few(value: str, found: list[T]) -> None:
            found.extend(one for text, one in pairs if text in value)

        return find_few
    from ahocorasick_rs import AhoCorasick  # only where many inner texts are sought

    search = AhoCorasick(texts).find_matches_as_indexes
    overlap = max(map(len, texts)) - 1

    def find(value: str, found: list[T]) -> None:
        if len(value) <= _WINDOW:
            hits = search(value, overlapping=True)
            if hits:
                found.extend(groups[number] for number in {hit[0] for hit in hits})
            return
        numbers: set[int] = set()
        for window in _windows(value, overlap):
            numbers.update(hit[0] for hit in search(window, overlapping=True))
        found.extend(groups[number] for number in numbers)

    return find


def _windows(text: str, overlap: int) -> Iterator[str]:
    for start in range(0, len(text), _WINDOW):
        yield text[start : start + _WINDOW + overlap]


_TEXT_FINDERS: dict[Kind, Callable[[Mapping[Any, Any]], _FindText]] = {
    Kind.PREFIX: _prefixes,
    Kind.SUFFIX: _suffixes,
    Kind.LIKE: _ignoring_case(_likes),
    Kind.LIKE_PREFIX: _ignoring_case(_prefixes),
    Kind.LIKE_SUFFIX: _ignoring_case(_suffixes),
    Kind.BLOCK: _blocks,
    Kind.CONTAINS: _inner,
}
