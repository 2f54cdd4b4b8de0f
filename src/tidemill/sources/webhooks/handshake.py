"""The receiver's side of the CloudEvents webhook handshake (HTTP Webhook 1.0.2, section 4).

1. Permission is stated at once, in the answer. `WebHook-Request-Callback` is never fetched: it is an address
   that somebody outside chose.
2. Only origins that the setting names are allowed; an origin is not authenticated by this, and nothing is
   stored. Deliveries need what every request to the endpoint needs.
3. Without consent the answer is what it is where there is no handshake: 405.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tidemill.errors import EventRejected
from tidemill.project.endpoint import Rate
from tidemill.sources import answers
from tidemill.sources.answers import Headers, Send

__all__ = ["Handshake"]

#: A DNS name (RFC 1123), as sections 2.1 and 4.1.2 ask for.
_ORIGIN = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")
_ANY = "*"
_ALLOW = (b"allow", b"POST, OPTIONS")
_MAX_RATE_DIGITS = 9


class Handshake:
    """Who may deliver here."""

    def __init__(self, origins: str | None) -> None:
        """`origins` are DNS names, comma-separated: exact, `*.example.com` for all below, or `*` for all."""
        names = [] if origins is None else [name.strip().lower() for name in origins.split(",")]
        self._origins: Sequence[str] = [name for name in names if name]

    @property
    def is_offered(self) -> bool:
        """Whether any origin is allowed."""
        return bool(self._origins)

    async def answer(self, headers: Headers, send: Send, *, rate: Rate | None = None) -> None:
        """Answer an OPTIONS request; `rate` is the endpoint's limit."""
        asked, wanted = b"", b""
        for name, value in headers:
            if name == b"webhook-request-origin":
                asked = value.strip()
            elif name == b"webhook-request-rate":
                wanted = value.strip()
        if not self._allows(asked):
            refusal = EventRejected("method_not_allowed", "events are posted")
            await answers.send_refusal(send, refusal, headers=((b"allow", b"POST"),))
            return
        fields = (
            _ALLOW,
            (b"webhook-allowed-origin", asked),
            (b"webhook-allowed-rate", _granted(wanted, rate)),
        )
        await answers.send_bare(send, 200, fields)

    def _allows(self, origin: bytes) -> bool:
        if not _ORIGIN.match(origin):
            return False
        name = origin.decode("ascii").lower()
        return any(_covers(allowed, name) for allowed in self._origins)


def _covers(allowed: str, name: str) -> bool:
    if allowed == _ANY:
        return True
    return name.endswith(allowed[1:]) if allowed.startswith("*.") else name == allowed


def _granted(wanted: bytes, rate: Rate | None) -> bytes:
    """Requests a minute (section 4.2.2): what was asked for, as far as the endpoint takes that much."""
    asked = int(wanted) if wanted.isdigit() and len(wanted) <= _MAX_RATE_DIGITS else 0
    if rate is None:
        return b"%d" % asked if asked else b"*"
    return b"%d" % (min(asked, rate.per_minute) if asked else rate.per_minute)
