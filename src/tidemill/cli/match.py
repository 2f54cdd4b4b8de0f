"""`tidemill match`: questions on standard input, verdicts on standard output, one line each, at once."""

from __future__ import annotations

import sys

__all__ = ["match"]


def match() -> None:
    """Say for each line {"pattern": …, "event": …} or {"filters": […], "event": …} whether the event matches.

    Each line is answered at once with {"match": true|false}, or {"error": "what is wrong with the line"}.
    """
    import orjson

    from tidemill.patterns.evaluate import match_line

    output = sys.stdout.buffer
    for line in sys.stdin.buffer:
        output.write(orjson.dumps(match_line(line), option=orjson.OPT_APPEND_NEWLINE))
        output.flush()
