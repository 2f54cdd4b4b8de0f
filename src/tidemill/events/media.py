"""Media types: which content mode a message has, and how `data` becomes bytes and comes back.

One place for both bindings, so that HTTP and Kafka read the same bytes as the same data. JSON is read
strictly, text that is UTF-8 becomes str, everything else stays the bytes it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from tidemill.errors import EventRejected
from tidemill.events import json_text
from tidemill.events.event import JSON, Event

__all__ = [
    "BATCH_TYPE",
    "JSON_TYPE",
    "OCTETS_TYPE",
    "STRUCTURED_TYPE",
    "MediaType",
    "Mode",
    "content_mode",
    "decode_data",
    "encode_data",
    "implied_type",
    "is_json",
    "parse",
]

JSON_TYPE = "application/json"
OCTETS_TYPE = "application/octet-stream"
STRUCTURED_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_WORD})=({_WORD}|"(?:[^"\\\x00-\x1f\x7f]|\\[\t\x20-\x7e])*"))?')
_TYPE = re.compile(rf"{_WORD}/{_WORD}")
#: Longer media types are parsed each time; a producer cannot fill memory with them.
_CACHED_LENGTH = 128
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class Mode(StrEnum):
    """Content modes of CloudEvents messages."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class MediaType:
    """A parsed media type (RFC 2045, section 5.1)."""

    #: `type/subtype` in lower case, without parameters.
    name: str
    #: The `charset` parameter in lower case; None when there is none.
    charset: str | None
    #: The subtype is `json` or ends with `+json`.
    is_json: bool
    #: The type is `text`.
    is_text: bool

    @property
    def is_utf8(self) -> bool:
        """Whether the charset is UTF-8 (ASCII included) or not given."""
        return self.charset is None or self.charset in _UTF8


def parse(text: str) -> MediaType | None:
    """The media type written as `text`; None when it is none."""
    if len(text) > _CACHED_LENGTH:
        return _parse(text)
    return _parse_cached(text)


def is_json(datacontenttype: str | None) -> bool:
    """Whether data of this media type is a JSON value; absent means JSON (JSON format, section 3.1.1)."""
    if datacontenttype is None or datacontenttype == JSON_TYPE:
        return True
    media = parse(datacontenttype)
    return media is not None and media.is_json


def implied_type(event: Event) -> str | None:
    """The media type that binary mode must name for data without one (JSON format, section 3.1.2)."""
    if event.datacontenttype is not None or event.data is None:
        return None
    return OCTETS_TYPE if type(event.data) is bytes else JSON_TYPE


def content_mode(content_type: str | None) -> Mode:
    """The mode of a message by its content type, which decides before any header does.

    Raises `EventRejected` (`unsupported_media_type`) for event formats other than JSON, and charsets other
    than UTF-8.
    """
    if content_type is None or content_type[:23].lower() != "application/cloudevents":
        return Mode.BINARY
    media = parse(content_type)
    mode = _MODES.get(media.name) if media is not None else None
    if media is None or mode is None:
        raise EventRejected(
            "unsupported_media_type",
            f"events are read as {STRUCTURED_TYPE} and {BATCH_TYPE}; other event formats are not supported",
            attribute="content-type",
        )
    if not media.is_utf8:
        raise _not_utf8()
    return mode


def decode_data(datacontenttype: str | None, body: bytes) -> JSON:
    """The data that `body` carries in binary mode.

    Raises `EventRejected` when JSON is not JSON, when text is declared to be UTF-8 and is not, and for JSON
    in another charset.
    """
    if datacontenttype is None or datacontenttype == JSON_TYPE:
        return json_text.parse(body)
    media = parse(datacontenttype)
    if media is None:
        return body
    if media.is_json:
        if not media.is_utf8:
            raise _not_utf8()
        return json_text.parse(body)
    if media.is_text and media.is_utf8:
        return _decode_text(media, body)
    return body


def encode_data(datacontenttype: str | None, data: JSON) -> bytes:
    """The bytes of `data` (not None) in binary mode, as its media type writes them."""
    if isinstance(data, bytes):
        return data
    if is_json(datacontenttype):
        return json_text.dump(data)
    text = str(data)
    media = parse(datacontenttype or "")
    if media is not None and media.charset is not None and not media.is_utf8:
        try:
            return text.encode(media.charset)
        except (LookupError, UnicodeError):
            pass  # a charset we cannot write: UTF-8 is the best there is
    return text.encode()


def _decode_text(media: MediaType, body: bytes) -> str | bytes:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if media.charset is None:
            return body  # a charset nobody named: the bytes are kept as they came
        detail = f"data is declared to be {media.charset} and is not at byte {error.start}"
        raise EventRejected("invalid_unicode", detail, attribute="data") from None


def _parse(text: str) -> MediaType | None:
    head = _TYPE.match(text)
    if head is None:
        return None
    charset: str | None = None
    at = head.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return None if text[at:].strip(" \t") else _media(head[0], charset)
        if charset is None and (parameter[1] or "").lower() == "charset":
            charset = parameter[2].strip('"').lower()
        at = parameter.end()
    return _media(head[0], charset)


_parse_cached = lru_cache(maxsize=256)(_parse)


def _media(name: str, charset: str | None) -> MediaType:
    name = name.lower()
    subtype = name.partition("/")[2]
    return MediaType(
        name=name,
        charset=charset,
        is_json=subtype == "json" or subtype.endswith("+json"),
        is_text=name.startswith("text/"),
    )


def _not_utf8() -> EventRejected:
    return EventRejected("unsupported_media_type", "JSON is read in UTF-8 only", attribute="content-type")


_MODES = {STRUCTURED_TYPE: Mode.STRUCTURED, BATCH_TYPE: Mode.BATCH}
