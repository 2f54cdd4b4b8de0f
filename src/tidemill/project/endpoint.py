"""What a webhook's endpoint asks of its senders and answers them, as values: signature, limits, answer.

No secret is here, only the places where secrets are found (`model.Secret`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from tidemill.project.mapping import Template

__all__ = ["Access", "AnswerSpec", "HmacSignature", "Preset", "Rate", "Signature", "parse_rate"]


class Preset(StrEnum):
    """A sender's way to sign that is known by name."""

    #: Standard Webhooks, `v1` (HMAC-SHA256) and `v1a` (ed25519).
    STANDARD = "standard"
    GITHUB = "github"
    GITLAB = "gitlab"
    STRIPE = "stripe"
    SLACK = "slack"


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacSignature:
    """An HMAC of the raw body in one header field."""

    #: Lower-case field name.
    header: str
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    #: What stands before the encoded signature, such as `sha256=`.
    prefix: str = ""


Signature = Preset | HmacSignature


class Access(StrEnum):
    """What a request must show before the endpoint takes it."""

    #: A signature by one of the endpoint's secrets; no bearer token.
    SIGNATURE = "signature"
    #: The bearer token that the service asks for, and a signature where the endpoint has secrets.
    TOKEN = "token"  # noqa: S105 - a word of the format
    #: Nothing: whoever reaches the endpoint may post.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in `seconds`, `burst` of them at once."""

    count: int
    seconds: int
    burst: int

    @property
    def per_second(self) -> float:
        """Requests a second on average."""
        return self.count / self.seconds

    @property
    def per_minute(self) -> int:
        """Whole requests a minute, at least one."""
        return max(1, self.count * 60 // self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSpec:
    """What a sender is answered once its event is on disk, in place of the position as JSON."""

    #: 200 to 299.
    status: int = 200
    content_type: Literal["application/json", "text/plain", "application/xml"] = "application/json"
    #: Field name (`x-…`) to template.
    headers: Mapping[str, Template] = field(default_factory=dict)
    #: None sends no body.
    body: Template | None = None


_RATE = re.compile(r"([1-9][0-9]{0,6})/(s|m|h)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_rate(text: str, *, burst: int | None = None) -> Rate:
    """`100/s`, `600/m` or `50/h`; `burst` is the count when not given. Raises `ValueError`."""
    found = _RATE.match(text)
    if found is None:
        raise ValueError("must be requests in a unit of time, such as 100/s, 600/m or 50/h")
    count = int(found[1])
    return Rate(count, _SECONDS[found[2]], count if burst is None else burst)
