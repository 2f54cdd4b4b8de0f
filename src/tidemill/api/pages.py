"""Listing: newest first, by cursor, never by offset, so that a page costs its rows wherever it lies."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

__all__ = ["MAX_POSITION", "Limit", "Position"]

#: Largest position that the log can hold (64 bit, signed).
MAX_POSITION = 2**63 - 1

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items in one page.")]
Position = Annotated[int, Query(ge=0, le=MAX_POSITION)]
