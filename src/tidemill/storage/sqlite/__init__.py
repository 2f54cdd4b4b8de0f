"""The embedded store: one SQLite file, one writer, group commit."""

from tidemill.storage.sqlite.store import open_store

__all__ = ["open_store"]
