"""Tests of texts that take time proportional to the text: ignoring case, and wildcards. Pure.

1. Case is ignored character by character, as event-ruler does: a character of the pattern stands for its lower
   and its upper form, so "ß" stands for "ß" and "SS", and "ss" never for "ß".
2. A wildcard is a row of pieces between stars. Pieces are found leftmost first, which never has to be undone.
3. `_` of CESQL's LIKE stands for one character; a pattern that has it is followed with one bit for each of its
   places, in one pass over the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = [
    "ANY",
    "ONE",
    "TextTest",
    "ends_like",
    "equals_like",
    "fold",
    "follow",
    "has_pieces",
    "starts_like",
]

TextTest = Callable[[str], bool]

#: In a pattern taken apart: any text, one character.
ANY = 0
ONE = 1


def fold(text: str) -> str | None:
    """The form under which ASCII texts that differ in case only are one; None when `text` is not ASCII."""
    return text.lower() if text.isascii() else None


def equals_like(pattern: str) -> TextTest:
    """Whether a text is `pattern`, whatever the case."""
    folded = fold(pattern)
    if folded is not None:
        length = len(folded)
        return lambda text: len(text) == length and text.isascii() and text.lower() == folded
    forms = _forms(pattern)
    return lambda text: _run(forms, text, 0) == len(text)


def starts_like(pattern: str) -> TextTest:
    """Whether a text begins with `pattern`, whatever the case."""
    folded = fold(pattern)
    if folded is not None:
        length = len(folded)
        return lambda text: (head := text[:length]).isascii() and head.lower() == folded
    forms = _forms(pattern)
    return lambda text: _run(forms, text, 0) is not None


def ends_like(pattern: str) -> TextTest:
    """Whether a text ends with `pattern`, whatever the case."""
    folded = fold(pattern)
    if folded is not None:
        length = len(folded)
        return lambda text: not length or ((tail := text[-length:]).isascii() and tail.lower() == folded)
    forms = [tuple(form[::-1] for form in pair) for pair in reversed(_forms(pattern))]
    longest = sum(max(map(len, pair)) for pair in forms)
    return lambda text: _run(forms, text[-longest:][::-1], 0) is not None


def has_pieces(pieces: Sequence[str]) -> TextTest:
    """Whether a text is `pieces` in this order with any text between them."""
    if len(pieces) == 1:
        return pieces[0].__eq__
    head, *middle, tail = pieces
    shortest = sum(len(piece) for piece in pieces)

    def matches(text: str) -> bool:
        if len(text) < shortest or not (text.startswith(head) and text.endswith(tail)):
            return False
        at, end = len(head), len(text) - len(tail)
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return matches


def follow(tokens: Sequence[str | int]) -> TextTest:
    """Whether a text is a row of characters, `ONE` (any character) and `ANY` (any text)."""
    # bit n: the first n places are passed; a star is no place but lets the bit before it stay
    stay, every, places = 0, 0, 0
    by_char: dict[str, int] = {}
    for token in tokens:
        if token == ANY:
            stay |= 1 << places
            continue
        places += 1
        if token == ONE:
            every |= 1 << places
        else:
            by_char[str(token)] = by_char.get(str(token), 0) | 1 << places
    passed = 1 << places

    def matches(text: str) -> bool:
        state = 1
        for char in text:
            state = (state << 1) & (by_char.get(char, 0) | every) | state & stay
            if not state:
                return False
        return bool(state & passed)

    return matches


def _forms(pattern: str) -> list[tuple[str, ...]]:
    """For each character its lower and its upper form."""
    return [
        (char.lower(),) if char.lower() == char.upper() else (char.lower(), char.upper()) for char in pattern
    ]


def _run(forms: Sequence[tuple[str, ...]], text: str, at: int) -> int | None:
    """Where `forms`, one after the other, end in `text`; None when they are not there.

    No form of a character begins with its other form, so at most one fits.
    """
    for pair in forms:
        for form in pair:
            if text.startswith(form, at):
                at += len(form)
                break
        else:
            return None
    return at
