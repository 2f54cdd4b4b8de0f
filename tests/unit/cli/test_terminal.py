"""What reaches the terminal holds nothing that a terminal obeys."""

from __future__ import annotations

import pytest

from tidemill.cli.terminal import clean, when


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("grün ☂", "grün ☂"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1bPsecret\x1b\\b", "ab"),
        ("open \x1b]0;never ends", "open "),
        ("a\x1bcb", "ab"),
        ("a\x1b(Bb", "ab"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("bell\x07 back\x08", "bell\\x07 back\\x08"),
        ("left\u202eright", "left\\u202eright"),
        ("end\x1b", "end"),
    ],
)
def test_clean_takes_escape_sequences_out_and_shows_the_rest(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_costs_the_text_and_no_more() -> None:
    assert clean("\x1b]" * 200_000) == ""


@pytest.mark.parametrize(("at", "shown"), [(None, ""), ("nonsense", "nonsense")])
def test_when_shows_what_is_no_time_as_it_is(at: str | None, shown: str) -> None:
    assert when(at) == shown
