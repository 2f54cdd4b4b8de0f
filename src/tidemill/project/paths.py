"""The path grammar of mappings: `$.data.items[0]["odd key"]` as a tuple of keys and indexes.

A path is `$`, then any number of `.name`, `[index]` (negative counts from the end) and `["any key"]` parts:
the part of RFC 9535 that always names at most one value. No wildcards, slices, filters or expressions, so
that reading a path costs its parts and nothing a user writes can run.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

__all__ = ["MAX_PARTS", "Path", "PathProblem", "parse_path", "scan_path"]

#: Most parts a path may have: data deeper than this is refused at the door.
MAX_PARTS = 64

_PART = re.compile(
    r"""\.(?P<name>[^\W\d][\w-]*)
      | \[(?P<index>-?(?:0|[1-9][0-9]{0,8}))\]
      | \[(?P<double>"(?:[^"\\]|\\.)*")\]
      | \['(?P<single>[^'\\]*)'\]""",
    re.VERBOSE,
)


class PathProblem(ValueError):  # noqa: N818 - named as `Problem` is
    """Text that should be a path and is not; the message says what is wrong."""


class Path(NamedTuple):
    """One parsed path."""

    #: As it was written.
    text: str
    #: Keys (str) and indexes (int) from the root; empty for `$` itself.
    parts: tuple[str | int, ...]


def scan_path(text: str, start: int = 0) -> tuple[Path, int]:
    """The path that begins with the `$` at `start`, and the place after it."""
    parts: list[str | int] = []
    end = start + 1
    while found := _PART.match(text, end):
        parts.append(_part(found))
        end = found.end()
    if len(parts) > MAX_PARTS:
        raise PathProblem(f"a path may have at most {MAX_PARTS} parts")
    return Path(text[start:end], tuple(parts)), end


def parse_path(text: str) -> Path:
    """`text` as a path, whole."""
    path, end = scan_path(text)
    if end != len(text):
        raise PathProblem(
            f"{_clip(text[end:])} cannot follow {_clip(path.text)} in a path; parts are .name, [0] and "
            '["any key"] (for text that begins with $ write $$)'
        )
    return path


def _part(found: re.Match[str]) -> str | int:
    """The key or index of one matched part."""
    if (name := found["name"]) is not None:
        return name
    if (index := found["index"]) is not None:
        return int(index)
    if (single := found["single"]) is not None:
        return single
    try:
        key: str = json.loads(found["double"])
    except ValueError as error:
        raise PathProblem(f"{_clip(found['double'])} is not a key in JSON quotes") from error
    return key


def _clip(text: str) -> str:
    """`text`, short enough to be read in a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
