"""The statements of this database by name; see `queries.sql`."""

from __future__ import annotations

from tidemill.storage.named import load_queries

__all__ = ["QUERIES"]

QUERIES = load_queries(__package__)
