"""Verification of Standard Webhooks signatures over the raw bytes: `v1` (HMAC-SHA256) and `v1a` (ed25519).

One text answers every wrong signature: a sender that has the secret needs no more, and nobody else gets more.
What a key is decides which signatures count for it, so that no sender can choose a weaker scheme.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Protocol

from tidemill.errors import EventRejected

__all__ = ["TOLERANCE_SECONDS", "Key", "PublicKey", "check_window", "invalid", "parse_secret", "verify"]

#: How far the sender's clock may be from ours, both ways.
TOLERANCE_SECONDS = 300
#: Signatures looked at in one header; a sender that rotates secrets sends two.
_MAX_SIGNATURES = 16
_PREFIX = "whsec_"
_PUBLIC_PREFIX = "whpk_"
_PRIVATE_PREFIX = "whsk_"
_MAX_TIMESTAMP_DIGITS = 15


class PublicKey(Protocol):
    """An ed25519 public key."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return when the signature fits, else raise."""


#: Bytes: the key of an HMAC.
Key = bytes | PublicKey


def parse_secret(text: str) -> Key:
    """The key in `whsec_` or `whpk_` + base64 (padding may be missing); a `ValueError` never repeats the text."""
    written = text.strip()
    if written.startswith(_PRIVATE_PREFIX):
        raise ValueError("whsk_ is the sender's own key; a receiver has whpk_")
    if written.startswith(_PUBLIC_PREFIX):
        return _public_key(_decode_key(written.removeprefix(_PUBLIC_PREFIX), _PUBLIC_PREFIX))
    return _decode_key(written.removeprefix(_PREFIX), _PREFIX)


def verify(keys: Sequence[Key], headers: Mapping[str, str], body: bytes, *, now_us: int) -> None:
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
    if not _is_timestamp(timestamp):
        raise invalid()
    signed = b".".join((message_id.encode("latin-1"), timestamp.encode(), body))
    candidates = [_decode(part) for part in given.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]]
    # Every pair is compared, so that the time taken tells nothing of which key or place was right.
    if not sum(_count_fitting(key, signed, candidates) for key in keys):
        raise invalid()
    check_window(timestamp, now_us=now_us, name="webhook-timestamp")


def check_window(timestamp: str, *, now_us: int, name: str) -> None:
    """Refuse a verified timestamp (seconds since the epoch) that is not close to now; `name` is its place."""
    if not _is_timestamp(timestamp):
        raise invalid()
    if abs(now_us - int(timestamp) * 1_000_000) > TOLERANCE_SECONDS * 1_000_000:
        raise EventRejected(
            "timestamp_out_of_window",
            f"{name} is more than {TOLERANCE_SECONDS} s from the server's time",
        )


def invalid() -> EventRejected:
    """The one refusal of every wrong signature."""
    return EventRejected("signature_invalid", "the signature does not fit the request")


def _is_timestamp(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_TIMESTAMP_DIGITS


def _count_fitting(key: Key, signed: bytes, candidates: Sequence[tuple[str, bytes]]) -> int:
    """How many of the signatures given are the key's; the body is digested once, however many there are."""
    if isinstance(key, bytes):
        mine = hmac.digest(key, signed, hashlib.sha256)
        return sum(
            hmac.compare_digest(mine, signature if version == "v1" else b"")
            for version, signature in candidates
        )
    return sum(version == "v1a" and _verifies(key, signature, signed) for version, signature in candidates)


def _verifies(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except Exception:
        # The library has an error of its own for this, and raises others for signatures of another length.
        return False
    return True


def _decode_key(encoded: str, prefix: str) -> bytes:
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a webhook secret is {prefix} followed by base64") from None
    if not key:
        raise ValueError("a webhook secret must not be empty")
    return key


def _public_key(raw: bytes) -> PublicKey:
    try:
        # Imported where such a key is used: few senders sign so.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise ValueError("a whpk_ key needs the package cryptography: install tidemill[signatures]") from None
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise ValueError("whpk_ is followed by the base64 of 32 bytes") from None


def _decode(part: str) -> tuple[str, bytes]:
    version, _, signature = part.partition(",")
    try:
        return version, base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return version, b""
