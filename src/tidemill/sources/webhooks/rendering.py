"""A source's own answer to its senders, made of what became of the request.

The event is on disk when this runs: whatever a template cannot give, the answer is a 2xx. Values come from
outside: a header value that could end its field is left out, and text is never markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from tidemill.events.event import JSON, Event
from tidemill.project.endpoint import AnswerSpec
from tidemill.project.evaluation import as_text
from tidemill.project.mapping import MappingFailed, Template, answer_lookup
from tidemill.sources.answers import Headers
from tidemill.storage.contract import Appended

__all__ = ["render"]

_JSON_TYPE = "application/json"
_SAFE_VALUE = re.compile(r"[\x20-\x7e]{1,1000}\Z")


def render(
    spec: AnswerSpec, event: Event, appended: Appended, *, runs: Sequence[JSON] = ()
) -> tuple[int, Headers, bytes] | None:
    """Status, header fields and body; None when the body's template asks for what is not there."""
    root = answer_lookup(event, appended.position, duplicate=appended.duplicate, runs=runs)

    def value_of(template: Template) -> JSON:
        return template.evaluate(root)

    fields: list[tuple[bytes, bytes]] = []
    for name, template in spec.headers.items():
        try:
            text = as_text(value_of(template))
        except MappingFailed:
            continue
        if _SAFE_VALUE.match(text):
            fields.append((name.encode("ascii"), text.encode("ascii")))
    if spec.body is None:
        return spec.status, fields, b""
    try:
        value = value_of(spec.body)
    except MappingFailed:
        return None
    is_json = spec.content_type == _JSON_TYPE
    body = orjson.dumps(value) if is_json else as_text(value).encode("utf-8", "replace")
    charset = b"" if is_json else b"; charset=utf-8"
    return spec.status, [(b"content-type", spec.content_type.encode() + charset), *fields], body
