"""How senders sign what they post to a webhook source, with the source's own secret: the other side of `schemes`."""

from __future__ import annotations

import base64
import hmac
import os
from pathlib import Path
from typing import assert_never

from tidemill.project.endpoint import HmacSignature, Preset
from tidemill.project.model import Secret, WebhookSource
from tidemill.sinks import signature

__all__ = ["signed_headers"]


def signed_headers(source: WebhookSource, body: bytes, root: Path, *, now_us: int) -> dict[str, str]:
    """The header fields that sign `body` as a sender would now; none where the source has no secret to be read."""
    secret = _first_secret(source, root)
    if secret is None:
        return {}
    scheme, seconds = source.signature, str(now_us // 1_000_000)
    match scheme:
        case HmacSignature():
            digest = hmac.digest(secret.encode(), body, scheme.algorithm)
            text = digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
            return {scheme.header: scheme.prefix + text}
        case Preset.STANDARD:
            return _standard(secret, body, now_us)
        case Preset.GITHUB:
            return {"x-hub-signature-256": f"sha256={_hex(secret, body)}"}
        case Preset.GITLAB:
            return (
                _standard(secret, body, now_us) if secret.startswith("whsec_") else {"x-gitlab-token": secret}
            )
        case Preset.STRIPE:
            return {"stripe-signature": f"t={seconds},v1={_hex(secret, seconds.encode() + b'.' + body)}"}
        case Preset.SLACK:
            signed = _hex(secret, b":".join((b"v0", seconds.encode(), body)))
            return {"x-slack-request-timestamp": seconds, "x-slack-signature": f"v0={signed}"}
        case _:
            assert_never(scheme)


def _standard(secret: str, body: bytes, now_us: int) -> dict[str, str]:
    message_id = signature.message_id("test", _hex(secret, body))
    keys = [signature.SigningKey(signature.signing_key(secret))]
    signed = signature.sign_all(keys, message_id=message_id, at_us=now_us, body=body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_us // 1_000_000),
        "webhook-signature": signed or "",
    }


def _hex(secret: str, signed: bytes) -> str:
    return hmac.digest(secret.encode(), signed, "sha256").hex()


def _first_secret(source: WebhookSource, root: Path) -> str | None:
    for secret in source.secrets:
        if (text := _read(secret, root)) is not None:
            return text.strip()
    return None


def _read(secret: Secret, root: Path) -> str | None:
    if secret.kind == "env":
        return os.environ.get(secret.place)
    try:
        return (root / secret.place).read_text("utf-8")
    except OSError:
        return None
