"""Deliveries by webhook: one POST per attempt, in either CloudEvents mode, signed as Standard Webhooks.

What is sent stands here; how it gets out (addresses, TLS, deadline) in `outgoing`; what follows an answer in
`schedule`. Where deliveries may go: http and https to any address that `addresses` allows, which includes
loopback and private networks. No reason given here repeats what the receiver wrote, and none contains a
secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tidemill.clock import Clock, SystemClock, to_us
from tidemill.errors import SettingsError
from tidemill.events import http as events_http
from tidemill.events.event import LoggedEvent
from tidemill.project.model import WebhookSink
from tidemill.sinks import addresses, schedule, signature
from tidemill.sinks.signature import SigningKey

if TYPE_CHECKING:
    from tidemill.sinks.handshake import Handshake
    from tidemill.sinks.outgoing import Outgoing

__all__ = ["DEFAULT_TIMEOUT_SECONDS", "WebhookSinkDelivery", "parse_retry_after"]

#: Longest time of an attempt unless the sink or the caller says otherwise, in seconds.
DEFAULT_TIMEOUT_SECONDS = 15.0
#: Longest header of Retry-After that is looked at, in characters.
_RETRY_AFTER_LENGTH = 64


class WebhookSinkDelivery:
    """One webhook receiver with its own pool of connections."""

    def __init__(
        self,
        spec: WebhookSink,
        secret: bytes | str | Sequence[bytes | str | SigningKey] | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        clock: Clock | None = None,
        client: Outgoing | None = None,
        handshake: Handshake | None = None,
        allows: Callable[[str], bool] = addresses.is_allowed,
    ) -> None:
        """`timeout_seconds` holds unless the sink has its own; a given `client` is owned and closed by this.

        Each of several secrets gives a signature. `handshake`: the receiver is asked before the first delivery.
        `allows` says which addresses may be dialled. Raises `SettingsError` when the URL or the secret cannot be used.
        """
        _check_url(spec.url)
        self._spec = spec
        self._keys = _keys(secret)
        self._handshake = handshake
        self._allows = allows
        self._within = timeout_seconds if spec.timeout is None else spec.timeout.total_seconds()
        self._clock = SystemClock() if clock is None else clock
        self._client = client
        self._agent = f"tidemill/{metadata.version('tidemill')}"

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        """See `Sink`; accepted means a 2xx status, whatever the answer's body does after that."""
        if self._handshake is not None:
            await self._handshake.agree(self._connections(), within=self._within)
        headers, body = self._message(logged)
        reply = await self._connections().post(
            self._spec.url, headers=headers, body=body, within=self._within
        )
        retry_after = parse_retry_after(reply.retry_after, now_us=self._clock.now_us())
        failure = schedule.failure_of(reply.status, retry_after=retry_after)
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Let go of connections; does nothing the second time."""
        if self._client is not None:
            await self._client.close()

    def _message(self, logged: LoggedEvent) -> tuple[dict[str, str], bytes]:
        """What is sent; the sink's own headers never replace those that have a meaning here."""
        binary = self._spec.mode == "binary"
        encode = events_http.to_http_binary if binary else events_http.to_http_structured
        encoded, body = encode(logged.event)
        headers = {name.lower(): value for name, value in self._spec.headers.items()}
        headers["user-agent"] = self._agent
        headers.update({name.lower(): value for name, value in encoded})
        message_id = signature.message_id(logged.event.source, logged.event.id)
        at_us = self._clock.now_us()
        headers["webhook-id"] = message_id
        headers["webhook-timestamp"] = str(at_us // 1_000_000)
        headers.pop("webhook-signature", None)
        signed = signature.sign_all(self._keys, message_id=message_id, at_us=at_us, body=body)
        if signed is not None:
            headers["webhook-signature"] = signed
        if self._handshake is not None:
            headers["webhook-request-origin"] = self._handshake.origin
        return headers, body

    def _connections(self) -> Outgoing:
        if self._client is None:
            from tidemill.sinks.outgoing import Outgoing  # the HTTP library takes 0.7 s to import

            self._client = Outgoing(allows=self._allows)
        return self._client


def _keys(secret: bytes | str | Sequence[bytes | str | SigningKey] | None) -> tuple[SigningKey, ...]:
    if secret is None:
        return ()
    given = [secret] if isinstance(secret, bytes | str) else secret
    return tuple(
        one if isinstance(one, SigningKey) else SigningKey(signature.signing_key(one)) for one in given
    )


def parse_retry_after(value: str | None, *, now_us: int) -> float | None:
    """Seconds that a `Retry-After` asks for (RFC 9110 section 10.2.3), None when it says nothing useful."""
    if value is None or len(value) > _RETRY_AFTER_LENGTH:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        return None
    return max(0.0, math.ceil((to_us(at) - now_us) / 1_000_000))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("a webhook sink's url is not http:// or https:// with a host")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            "a webhook sink's url contains credentials; put them into its headers or sign instead"
        )
