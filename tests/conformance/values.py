"""Values that suites write into stores: whole, and with what a test says of them."""

from __future__ import annotations

from typing import Any

from tidemill.storage.contract import NewRun

__all__ = ["new_run"]


def new_run(run_id: str, **members: Any) -> NewRun:
    """A queued run."""
    given: dict[str, Any] = {
        "dag": "orders",
        "version": "v1",
        "trigger": "t",
        "position": 1,
        "event_source": "/shop",
        "event_id": "1",
        "parameters": b"{}",
        "queued_at": 1000,
        "correlation_id": "c",
        "hop_count": 0,
    }
    return NewRun(run_id=run_id, **{**given, **members})
