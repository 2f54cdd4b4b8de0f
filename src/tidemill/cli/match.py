"""`tidemill match`: questions on standard input, verdicts on standard output, one line each, at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["match"]


def match(
    explain: Annotated[
        bool, typer.Option("--explain", help="Add what each condition found and whether it holds.")
    ] = False,
) -> None:
    """Say for each line {"filters" | "pattern" | "cesql" | "cel": …, "event": …} whether the event matches.

    Each line is answered at once with {"match": true|false}, or {"error": "what is wrong with the line"}.
    """
    import orjson

    from tidemill.patterns.evaluate import match_line

    output = sys.stdout.buffer
    for line in sys.stdin.buffer:
        output.write(orjson.dumps(match_line(line, explained=explain), option=orjson.OPT_APPEND_NEWLINE))
        output.flush()
