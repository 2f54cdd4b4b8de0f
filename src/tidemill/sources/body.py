"""Reading a request's body, bounded in decoded size, in bytes on the wire and in time.

Nothing here knows what the bytes mean. A compressed body is decoded no further than the limit, so a bomb
costs no more memory than that.
"""

from __future__ import annotations

import asyncio
import zlib

from tidemill.errors import EventRejected
from tidemill.sources.answers import Headers, Receive

__all__ = ["ClientGone", "Declared", "declared", "read"]

#: Content type (None: none), whether the body is compressed, its length on the wire (0: not said), and whether
#: the request has preferences (RFC 7240).
Declared = tuple[bytes | None, bool, int, bool]

_LOOKED_AT = frozenset({b"content-type", b"content-length", b"content-encoding", b"prefer"})

_MAX_LENGTH_DIGITS = 18

#: Bytes of a too large body that are read and thrown away, so that its sender can read the answer.
_DISCARD_BYTES = 16 << 20
#: Overhead that a compressed body may have over its decoded limit.
_GZIP_SLACK_BYTES = 64 << 10
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
#: Gzip members in one body (RFC 1952 section 2.2); each one costs a copy of what follows it.
_MAX_GZIP_MEMBERS = 16


class ClientGone(Exception):  # noqa: N818 - nobody is left to be told
    """The client closed the connection before its request was complete."""


def declared(headers: Headers) -> Declared:
    """What the header fields say of body and answer; raises `EventRejected` (`unsupported_content_encoding`)."""
    content_type, is_gzip, length, has_preferences = None, False, 0, False
    for name, value in headers:
        if name not in _LOOKED_AT:
            continue
        if name == b"content-type":
            content_type = value if content_type is None else content_type
        elif name == b"content-length":
            length = int(value[:_MAX_LENGTH_DIGITS]) if value.isdigit() else 0
        elif name == b"content-encoding":
            is_gzip = _is_gzip(value, is_gzip)
        else:
            has_preferences = True
    return content_type, is_gzip, length, has_preferences


async def read(
    receive: Receive, *, is_gzip: bool, length: int, limit: int, seconds: float, too_large: str
) -> bytes:
    """The whole decoded body, of at most `limit` bytes, if it comes within `seconds`.

    `length` is the declared one (0: none). Raises `EventRejected` (the code in `too_large`,
    `request_timeout`, `invalid_encoding`) and `ClientGone`.
    """
    raw_limit = limit + _GZIP_SLACK_BYTES if is_gzip else limit
    if length > raw_limit + _DISCARD_BYTES:
        raise _too_large(too_large, limit)
    # By hand and not by `asyncio.timeout`, which costs as much as everything else on the hot path here.
    deadline = _Deadline()
    timer = asyncio.get_running_loop().call_later(seconds, deadline.expire)
    try:
        raw = await _receive_all(receive, limit=raw_limit)
    except asyncio.CancelledError:
        if deadline.is_over and deadline.task.uncancel() == 0:
            detail = f"the body did not come within {seconds:g} s"
            raise EventRejected("request_timeout", detail) from None
        raise
    finally:
        timer.cancel()
    if raw is None:
        raise _too_large(too_large, limit)
    return _decompress(raw, limit=limit, too_large=too_large) if is_gzip else raw


class _Deadline:
    """Cancels the task that made it, and remembers that it did."""

    __slots__ = ("is_over", "task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only ever made inside one
        self.task = task
        self.is_over = False

    def expire(self) -> None:
        self.is_over = True
        self.task.cancel()


def _is_gzip(value: bytes, is_gzip: bool) -> bool:
    coding = value.strip().lower()
    if coding in (b"", b"identity"):
        return is_gzip
    if coding in (b"gzip", b"x-gzip") and not is_gzip:
        return True
    raise EventRejected(
        "unsupported_content_encoding", "content-encoding must be gzip or identity, applied once"
    )


def _too_large(code: str, limit: int) -> EventRejected:
    return EventRejected(code, f"the body is larger than {limit} bytes")


async def _receive_all(receive: Receive, *, limit: int) -> bytes | None:
    """The body as it came; None when it is larger than `limit` (the rest was read and thrown away)."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= limit else None
    chunks, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit + _DISCARD_BYTES:
            return None
        if size > limit:
            chunks.clear()
        else:
            chunks.append(chunk)
    return b"".join(chunks) if size <= limit else None


def _decompress(raw: bytes, *, limit: int, too_large: str) -> bytes:
    decoded = bytearray()
    rest = raw
    try:
        for _ in range(_MAX_GZIP_MEMBERS):
            if not rest:
                return bytes(decoded)
            member = zlib.decompressobj(_GZIP_WINDOW)
            decoded += member.decompress(rest, limit + 1 - len(decoded))
            if len(decoded) > limit:
                raise _too_large(too_large, limit)
            if not member.eof:
                raise EventRejected("invalid_encoding", "the gzip body is cut off")
            rest = member.unused_data
    except zlib.error as error:
        raise EventRejected("invalid_encoding", "the body is not gzip") from error
    if rest:
        raise EventRejected("invalid_encoding", f"the gzip body has more than {_MAX_GZIP_MEMBERS} members")
    return bytes(decoded)
