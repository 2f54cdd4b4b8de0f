"""Questions that a sender asks once to see that an endpoint is its owner's; they are answered and no event."""

from __future__ import annotations

from tidemill.events.event import JSON
from tidemill.project.endpoint import Preset, Signature

__all__ = ["challenge_in"]

#: Longest challenge that is given back.
_MAX_CHARACTERS = 1000


def challenge_in(scheme: Signature, value: JSON) -> str | None:
    """The text to answer with, when the verified body `value` is a challenge (Slack's `url_verification`)."""
    if scheme is not Preset.SLACK or not isinstance(value, dict) or value.get("type") != "url_verification":
        return None
    text = value.get("challenge")
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_CHARACTERS:
        return None
    return text if text.isascii() and text.isprintable() else None
