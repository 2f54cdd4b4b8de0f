"""Texts: ignoring case, wildcards, and the time they take."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.patterns import texts

SMALL = st.text(alphabet="ab", max_size=8)


def test_no_form_of_a_character_begins_with_its_other_form() -> None:
    # what `_run` relies on: the form that fits is the only one that does
    ambiguous = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if (lower := char.lower()) != (upper := char.upper())
        and (lower.startswith(upper) or upper.startswith(lower))
    ]

    assert ambiguous == []


@given(st.lists(st.sampled_from(["a", "b", texts.ANY, texts.ONE]), max_size=7), SMALL)
def test_followed_pattern_matches_as_the_regular_expression(tokens: list[str | int], text: str) -> None:
    parts = {texts.ANY: ".*", texts.ONE: "."}
    expected = re.fullmatch("".join(parts.get(one, str(one)) for one in tokens), text) is not None  # type: ignore[call-overload]

    assert texts.follow(tokens)(text) is expected


@given(st.lists(SMALL, min_size=1, max_size=4), SMALL)
def test_pieces_match_as_the_regular_expression(pieces: list[str], text: str) -> None:
    assert texts.has_pieces(pieces)(text) is (re.fullmatch(".*".join(pieces), text) is not None)


@given(st.text(alphabet="abABßSsÄäk\u212a", max_size=6), st.text(alphabet="abABßSsÄäk\u212a", max_size=8))
def test_ignoring_case_matches_as_the_regular_expression(pattern: str, text: str) -> None:
    forms = "".join(f"(?:{char.lower()}|{char.upper()})" for char in pattern)

    assert texts.equals_like(pattern)(text) is (re.fullmatch(forms, text) is not None)
    assert texts.starts_like(pattern)(text) is (re.match(forms, text) is not None)
    assert texts.ends_like(pattern)(text) is (re.search(forms + r"\Z", text) is not None)


@pytest.mark.parametrize(
    "test",
    [
        texts.has_pieces(["", *["a" * 20 + "b"] * 4, ""]),
        texts.has_pieces(["a", "a", "a", "b"]),
        texts.follow([texts.ANY, *["a", texts.ONE] * 40, "b", texts.ANY]),
        texts.follow([texts.ANY, "a"] * 30),
        texts.equals_like("ß" * 8_000),
        texts.ends_like("ß" * 8_000),
    ],
    ids=["pieces", "stars", "ones", "many stars", "equals", "ends"],
)
def test_time_is_proportional_to_the_text(test: Callable[[str], bool]) -> None:
    def seconds(length: int) -> float:
        text = "a" * length
        started = time.process_time()
        test(text)
        return time.process_time() - started

    seconds(10_000)
    short = min(seconds(100_000) for _ in range(3))
    long = min(seconds(400_000) for _ in range(3))

    assert long < 12 * max(short, 0.001)
