"""Lines of tasks: each with its own attempt, within bounds."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from tidemill.executors.remote.capture import gather


@contextmanager
def worker() -> Iterator[io.StringIO]:
    """The process as a worker's: its own output, and no log handlers but its own; set back afterwards.

    (No fixture: pytest puts its own streams and handlers there when a test begins.)
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    own = io.StringIO()
    try:
        with redirect_stdout(own), redirect_stderr(own):
            yield own
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_prints_become_lines() -> None:
    with worker(), gather() as lines:
        sys.stdout.write("a\nb")
        sys.stdout.write("c\n")
        sys.stderr.write("oh")

    assert [(line.level, line.text) for line in lines.kept] == [
        ("INFO", "a"), ("INFO", "bc"), ("WARNING", "oh")]  # fmt: skip


def test_log_lines_have_their_level() -> None:
    with worker(), gather() as lines:
        logging.getLogger("app").error("no %s", "way")

    assert [(line.level, line.text) for line in lines.kept] == [("ERROR", "app: no way")]


def test_log_line_that_cannot_be_made_does_no_harm() -> None:
    with worker(), gather() as lines:
        logging.getLogger("app").error("no %d", "number")

    assert [line.text for line in lines.kept] == ["app: (a log line that cannot be made)"]


def test_what_is_written_outside_goes_where_it_always_went() -> None:
    with worker() as own:
        with gather() as lines:
            pass
        sys.stdout.write("outside\n")

    assert lines.kept == []
    assert own.getvalue() == "outside\n"


async def test_attempts_side_by_side_do_not_mix() -> None:
    async def attempt(name: str) -> list[str]:
        with gather() as lines:
            for _ in range(3):
                sys.stdout.write(f"{name}\n")
                await asyncio.sleep(0)
        return [line.text for line in lines.kept]

    with worker():
        said = await asyncio.gather(attempt("a"), attempt("b"))

    assert said == [["a"] * 3, ["b"] * 3]


def test_lines_beyond_the_bounds_are_counted() -> None:
    with worker(), gather() as lines:
        for _ in range(1000):
            sys.stdout.write("x\n")

    assert len(lines.kept) == 200
    assert lines.dropped == 800


def test_endless_line_is_cut() -> None:
    with worker(), gather() as lines:
        for _ in range(100):
            sys.stdout.write("x" * 1000)

    assert [len(line.text) for line in lines.kept] == [2000]


def test_lone_surrogates_can_be_sent() -> None:
    with worker(), gather() as lines:
        sys.stdout.write("\udc80\n")

    assert lines.kept[0].text == "\\udc80"
