"""What a template's `$` can stand for, and which paths can never lead anywhere below it."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Literal

from tidemill.project.lookups import ANSWER_PARTS, ENRICHED, REQUEST_PARTS
from tidemill.project.paths import Path

__all__ = ["Root", "root_problem"]

#: What `$` will stand for when the template is evaluated.
Root = Literal["event", "request", "answer"]


def root_problem(path: Path, root: Root, enriched: Collection[str]) -> str | None:
    """Why `path` can never lead anywhere below `root`; `enriched` names what is looked up beside it."""
    if not path.parts:
        return None
    first = path.parts[0]
    if root == "request":
        if first in REQUEST_PARTS:
            return None
        return f"{path.text}: a request has $.body, $.headers and $.query"
    if root == "answer":
        if first in ANSWER_PARTS:
            return None
        return f"{path.text}: an answer is made of $.event, $.position, $.duplicate and $.runs"
    if isinstance(first, int):
        return f"{path.text}: an event is not a list"
    if first in ("data", "data_base64", "events"):
        return None
    if first == ENRICHED and len(path.parts) > 1:
        if path.parts[1] in enriched:
            return None
        return f"{path.text}: there is no enrichment {path.parts[1]!r} beside it"
    if len(path.parts) > 1 or not (first.isascii() and first.isalnum() and first.islower()):
        near = " (did you mean $.data?)" if difflib.get_close_matches(first, ["data"]) else ""
        return f"{path.text}: an event has attributes such as $.type and $.subject, and $.data{near}"
    return None
