"""The signed part of a callback URL: who may decide what, until when. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

import orjson

__all__ = ["Callback", "make_token", "read_token"]


@dataclass(frozen=True, slots=True)
class Callback:
    """What a URL is good for."""

    approval: str
    by: str
    #: Seconds since the epoch.
    expires_at: int


def make_token(secret: bytes, callback: Callback) -> str:
    """What verifies as `callback` with the same secret."""
    body = _text(orjson.dumps([callback.approval, callback.by, callback.expires_at]))
    return f"{body}.{_text(_sign(secret, body))}"


def read_token(secret: bytes, token: str) -> Callback | None:
    """The callback that a token was made for; None when it was not made with this secret."""
    body, dot, signature = token.partition(".")
    try:
        given = _bytes(signature)
        if not dot or not hmac.compare_digest(_sign(secret, body), given):
            return None
        approval, by, expires_at = orjson.loads(_bytes(body))
    except (binascii.Error, ValueError, UnicodeError):
        return None
    return Callback(approval, by, expires_at)


def _sign(secret: bytes, body: str) -> bytes:
    return hmac.new(secret, b"approval." + body.encode(), hashlib.sha256).digest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
