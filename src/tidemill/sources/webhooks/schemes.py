"""How senders sign: one small class per scheme, each over the raw bytes and by all secrets of the endpoint.

Rules:

1. Digests are compared with `hmac.compare_digest`, as bytes, every secret with every signature given.
2. The text that was signed is made of the header fields and the body as they came.
3. A timestamp counts only after its signature was found right, and then only within the window.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Protocol, assert_never

from tidemill.errors import EventRejected
from tidemill.events.event import JSON
from tidemill.project.endpoint import HmacSignature, Preset, Signature
from tidemill.sources import signature

__all__ = ["Verifier", "build_verifier"]

#: White space of header fields (RFC 9110, section 5.6.3); `str.strip` would also take control characters away.
_SPACE = " \t"

Headers = Mapping[str, str]

#: Signatures looked at in one header field.
_MAX_CANDIDATES = 16


class Verifier(Protocol):
    """One endpoint's scheme with its keys."""

    def verify(self, headers: Headers, body: bytes, *, now_us: int) -> None:
        """Return when a key signed the request; `headers` have lower-case names.

        Raises `EventRejected`: `signature_missing`, `signature_invalid`, `timestamp_out_of_window`.
        """

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        """The sender's own id of what it delivers: the same when it sends again. None when it gives none."""


def build_verifier(scheme: Signature, secrets: Sequence[str]) -> Verifier:
    """The verifier of an endpoint; raises `ValueError` for a secret of another form, without repeating it."""
    match scheme:
        case HmacSignature():
            return _Hmac(scheme, _texts(secrets))
        case Preset.STANDARD:
            return _Standard(secrets)
        case Preset.GITHUB:
            return _GitHub(_GITHUB_SIGNATURE, _texts(secrets))
        case Preset.GITLAB:
            return _GitLab(secrets)
        case Preset.STRIPE:
            return _Stripe(_texts(secrets))
        case Preset.SLACK:
            return _Slack(_texts(secrets))
        case _:
            assert_never(scheme)


class _Standard:
    """Standard Webhooks."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [signature.parse_secret(secret) for secret in secrets]

    def verify(self, headers: Headers, body: bytes, *, now_us: int) -> None:
        signature.verify(self._keys, headers, body, now_us=now_us)

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        return headers.get("webhook-id") or None


class _Hmac:
    """An HMAC of the body alone, in one header field. Nothing in it grows old: identity catches repeats."""

    def __init__(self, scheme: HmacSignature, keys: Sequence[bytes]) -> None:
        self._scheme = scheme
        self._keys = keys

    def verify(self, headers: Headers, body: bytes, *, now_us: int) -> None:
        scheme = self._scheme
        given, prefix = _given(headers, scheme.header), scheme.prefix
        # A comma joins repeated fields, unless it is how this sender writes its prefix.
        parts = [given] if "," in prefix else given.split(",", _MAX_CANDIDATES)[:_MAX_CANDIDATES]
        found = [
            _decode(part.strip(_SPACE).removeprefix(prefix), scheme.encoding)
            for part in parts
            if part.strip(_SPACE).startswith(prefix)
        ]
        _check(self._keys, body, found, algorithm=scheme.algorithm)

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        return None


_GITHUB_SIGNATURE = HmacSignature(header="x-hub-signature-256", prefix="sha256=")


class _GitHub(_Hmac):
    """`X-Hub-Signature-256`; a redelivery keeps its `X-GitHub-Delivery`."""

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        return headers.get("x-github-delivery") or None


class _GitLab:
    """A signing token (`whsec_…`) signs as Standard Webhooks do; any other secret is `X-Gitlab-Token` itself."""

    def __init__(self, secrets: Sequence[str]) -> None:
        signing = [secret for secret in secrets if secret.strip().startswith("whsec_")]
        self._keys = [signature.parse_secret(secret) for secret in signing]
        self._tokens = _texts([secret for secret in secrets if secret not in signing])

    def verify(self, headers: Headers, body: bytes, *, now_us: int) -> None:
        if self._keys and (headers.get("webhook-signature") or not self._tokens):
            try:
                signature.verify(self._keys, headers, body, now_us=now_us)
                return
            except EventRejected:
                # While one way replaces the other a sender may use both: then the token counts as well.
                if not (self._tokens and headers.get("x-gitlab-token")):
                    raise
        given = _given(headers, "x-gitlab-token").encode("latin-1")
        if not sum(hmac.compare_digest(token, given) for token in self._tokens):
            raise signature.invalid()

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        return headers.get("webhook-id") or headers.get("idempotency-key") or None


class _Stripe:
    """`Stripe-Signature: t=…,v1=…[,v1=…]` over `t.body`; the event's own id is in the body."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def verify(self, headers: Headers, body: bytes, *, now_us: int) -> None:
        given = _given(headers, "stripe-signature")
        timestamp, found = "", []
        for part in given.split(",", _MAX_CANDIDATES)[:_MAX_CANDIDATES]:
            name, _, text = part.strip(_SPACE).partition("=")
            if name == "t":
                timestamp = text
            elif name == "v1":
                found.append(_decode(text, "hex"))
        _check(self._keys, timestamp.encode("latin-1") + b"." + body, found)
        signature.check_window(timestamp, now_us=now_us, name="the timestamp of Stripe-Signature")

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        return _member(value, "id")


class _Slack:
    """`X-Slack-Signature: v0=…` over `v0:timestamp:body`; events carry their own id, and keep it in retries."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def verify(self, headers: Headers, body: bytes, *, now_us: int) -> None:
        given = _given(headers, "x-slack-signature")
        timestamp = _given(headers, "x-slack-request-timestamp")
        version, _, text = given.partition("=")
        found = [_decode(text, "hex")] if version == "v0" else []
        _check(self._keys, b":".join((b"v0", timestamp.encode("latin-1"), body)), found)
        signature.check_window(timestamp, now_us=now_us, name="X-Slack-Request-Timestamp")

    def delivery_id(self, headers: Headers, value: JSON) -> str | None:
        return _member(value, "event_id")


def _texts(secrets: Sequence[str]) -> list[bytes]:
    keys = [secret.strip().encode() for secret in secrets]
    if not all(keys):
        raise ValueError("a webhook secret must not be empty")
    return keys


def _given(headers: Headers, name: str) -> str:
    value = headers.get(name)
    if not value:
        raise EventRejected("signature_missing", f"the header field {name} is needed")
    return value


def _check(
    keys: Sequence[bytes], signed: bytes, found: Sequence[bytes], *, algorithm: str = "sha256"
) -> None:
    # Every pair is compared, so that the time taken tells nothing of which key or place was right.
    expected = [hmac.digest(key, signed, algorithm) for key in keys]
    if not sum(hmac.compare_digest(mine, theirs) for mine in expected for theirs in found):
        raise signature.invalid()


def _decode(text: str, encoding: str) -> bytes:
    """The bytes of a digest; empty, which fits no digest, when it is not written as it must be."""
    try:
        if encoding == "hex":
            return binascii.unhexlify(text)
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _member(value: JSON, name: str) -> str | None:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None
