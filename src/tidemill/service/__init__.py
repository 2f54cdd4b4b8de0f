"""The composition root: builds the stages, starts them in order, stops them in reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.service.service import Service

__all__ = ["Service"]


def __getattr__(name: str) -> Any:
    """`Service` on first use: the command line reads a server's note without loading every stage."""
    if name == "Service":
        from tidemill.service.service import Service

        return Service
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
