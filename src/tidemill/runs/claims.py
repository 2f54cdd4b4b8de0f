"""References that stand for results kept elsewhere: what one looks like, and with which run its content is kept. Pure.

Who keeps and fetches the content is in `executors`; here they are only told from ordinary results.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from tidemill.dag.binding import ResultRef, result_indexes
from tidemill.dag.definition import Dag, NodeKind

__all__ = ["BEGIN", "Claim", "claim_in", "claim_of", "kept_whole", "may_be_claim"]

BEGIN = b'{"$claim":'
#: `run/task-attempt-hash`, whatever stands before it.
_PLACE = re.compile(r"[^\n]{0,4096}/([0-9A-Za-z-]{1,64})/\d{1,9}-\d{1,9}-[0-9a-f]{16}\.json", re.ASCII)
_MEMBERS = {"$claim", "size", "sha256"}


class Claim(NamedTuple):
    """What a reference says."""

    url: str
    #: The run with which the content is kept, and dropped.
    run: str
    size: int
    sha256: str


def may_be_claim(text: bytes) -> bool:
    """False for every result that is certainly no reference."""
    return text.startswith(BEGIN)


def claim_of(text: bytes) -> Claim | None:
    """What the reference says that this JSON text is; None for an ordinary result."""
    return claim_in(orjson.loads(text)) if text.startswith(BEGIN) else None


def claim_in(value: Any) -> Claim | None:
    """The same for a decoded result."""
    if type(value) is not dict or value.keys() != _MEMBERS:
        return None
    url, size, digest = value["$claim"], value["size"], value["sha256"]
    if type(url) is not str or type(size) is not int or type(digest) is not str:
        return None
    found = _PLACE.fullmatch(url)
    return None if found is None else Claim(url, found[1], size, digest)


def kept_whole(dag: Dag) -> frozenset[int]:
    """Tasks whose results stay where the run is: the graph itself reads them, or what the run returns does.

    Those of maps, which become one list; lists that are mapped; what branches and conditions look at; and results of
    which the run's own result is a part.
    """
    found = set(_within(dag.output))
    for node in dag.tasks:
        if node.mapped is not None:
            found.add(node.index)
            found.update(result_indexes([tree for _, tree in node.mapped.values]))
        if node.wait is not None:  # what it waits for is looked at
            found.update(result_indexes((node.args, dict(node.kwargs))))
        elif node.kind is not NodeKind.TASK:
            found.add(node.index)
        found.update(above for above, edge in node.edges.items() if edge.condition is not None)
    return frozenset(found)


def _within(output: Any) -> list[int]:
    """Tasks of which the output takes a part only."""
    found: list[int] = []
    pending = [output]
    while pending:
        match pending.pop():
            case ResultRef(index=index, path=path) if path:
                found.append(index)
            case list() | tuple() as items:
                pending.extend(items)
            case dict() as values:
                pending.extend(values.values())
    return found
