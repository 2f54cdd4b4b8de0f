"""Verification of Standard Webhooks signatures (version v1, HMAC-SHA256), over the raw bytes.

One text answers every wrong signature: a sender that has the secret needs no more, and nobody else gets more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from tidemill.errors import EventRejected

__all__ = ["TOLERANCE_SECONDS", "parse_secret", "verify"]

#: How far the sender's clock may be from ours, both ways.
TOLERANCE_SECONDS = 300
#: Signatures looked at in one header; a sender that rotates secrets sends two.
_MAX_SIGNATURES = 16
_PREFIX = "whsec_"


def parse_secret(text: str) -> bytes:
    """The key in `whsec_` + base64 (padding may be missing); a `ValueError` never repeats the text."""
    encoded = text.strip().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret is whsec_ followed by base64") from None
    if not key:
        raise ValueError("a webhook secret must not be empty")
    return key


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, *, now_us: int) -> None:
    """Return when any of `keys` signed `body`; `headers` have lower-case names.

    Raises `EventRejected`: `signature_missing`, `timestamp_out_of_window`, `signature_invalid`.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    if not (message_id and timestamp and given):
        raise EventRejected(
            "signature_missing", "webhook-id, webhook-timestamp and webhook-signature are needed"
        )
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
        raise _invalid()
    signed = b".".join((message_id.encode("latin-1"), timestamp.encode(), body))
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    candidates = [_decode(part) for part in given.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]]
    # Every pair is compared, so that the time taken tells nothing of which key or place was right.
    matches = sum(hmac.compare_digest(mine, theirs) for mine in expected for theirs in candidates)
    if not matches:
        raise _invalid()
    if abs(now_us - int(timestamp) * 1_000_000) > TOLERANCE_SECONDS * 1_000_000:
        raise EventRejected(
            "timestamp_out_of_window",
            f"webhook-timestamp is more than {TOLERANCE_SECONDS} s from the server's time",
        )


def _invalid() -> EventRejected:
    return EventRejected("signature_invalid", "the signature does not fit the request")


def _decode(part: str) -> bytes:
    version, _, signature = part.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
