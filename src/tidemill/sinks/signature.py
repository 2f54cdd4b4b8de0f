"""Standard Webhooks, the sender's side: message id, form of the secret, signature (scheme `v1`). Pure.

Signed over bytes: the `standardwebhooks` library signs text only, and the data of an event in binary mode may
be any bytes. What is made here is what that library verifies, and the tests hold it to that.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from tidemill.errors import SettingsError

__all__ = ["SigningKey", "message_id", "sign", "sign_all", "signing_key"]

_PREFIX = "whsec_"


def message_id(source: str, event_id: str) -> str:
    """The `webhook-id` of an event: the same in every attempt, on every machine, for ever.

    Derived from the event's identity, so that a receiver recognises an event however often and on whichever
    way it comes. Contains no full stop, which the signature's text uses as its separator.
    """
    digest = blake2b(f"{source}\0{event_id}".encode(), digest_size=20).digest()
    return f"msg_{base64.b32encode(digest).decode().lower()}"


def signing_key(secret: bytes | str) -> bytes:
    """The key in `secret`: bytes are the key, text is base64 with or without the prefix `whsec_`.

    Raises `SettingsError`, which does not show the secret.
    """
    if isinstance(secret, str):
        text = secret.removeprefix(_PREFIX)
        try:
            secret = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise SettingsError("a webhook secret is not whsec_ followed by base64") from None
    if not secret:
        raise SettingsError("a webhook secret is empty")
    return secret


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, and until when it signs: the old one of a rotation beside the new one."""

    key: bytes = field(repr=False)
    #: Microseconds since the epoch; None: for good.
    until: int | None = None


def sign(key: bytes, *, message_id: str, at_seconds: int, body: bytes) -> str:
    """The `webhook-signature` of a body sent at `at_seconds` since the epoch."""
    text = b".".join((message_id.encode(), str(at_seconds).encode(), body))
    return f"v1,{base64.b64encode(hmac.digest(key, text, 'sha256')).decode()}"


def sign_all(keys: Sequence[SigningKey], *, message_id: str, at_us: int, body: bytes) -> str | None:
    """The `webhook-signature` with one signature for each key that counts now; None where there is none."""
    made = [
        sign(one.key, message_id=message_id, at_seconds=at_us // 1_000_000, body=body)
        for one in keys
        if one.until is None or at_us < one.until
    ]
    return " ".join(made) or None
