"""The store on PostgreSQL, for several nodes on one database; behind the same contract as every other."""

from tidemill.storage.postgres.store import PostgresStore, open_store

__all__ = ["PostgresStore", "open_store"]
