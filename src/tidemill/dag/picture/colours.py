"""Colours of task states, the same in every format."""

from __future__ import annotations

__all__ = ["COLOURS", "PLAIN"]

#: Fill and border of a node without a state.
PLAIN = ("#ffffff", "#57606a")
#: Fill and border of a node by the state of its task run.
COLOURS: dict[str, tuple[str, str]] = {
    "pending": ("#f6f8fa", "#8c959f"),
    "ready": ("#ddf4ff", "#54aeff"),
    "running": ("#b6e3ff", "#0969da"),
    "retrying": ("#fff8c5", "#bf8700"),
    "waiting": ("#fbefff", "#8250df"),
    "succeeded": ("#dafbe1", "#1a7f37"),
    "failed": ("#ffebe9", "#cf222e"),
    "upstream_failed": ("#fff1e5", "#bc4c00"),
    "cancelled": ("#eaeef2", "#6e7781"),
    "skipped": ("#f6f8fa", "#afb8c1"),
}
