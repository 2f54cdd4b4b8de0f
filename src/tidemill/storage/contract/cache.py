"""Results that may be used again for the same code and inputs, and what runs hold of each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["CacheEntry", "CachedResult", "Reuse", "TaskCache", "place"]


class CacheEntry(NamedTuple):
    """A result as it is put into the cache, in the transaction that records it."""

    #: Hash of code and inputs, in hex.
    key: str
    dag: str
    task: str
    #: Where it was made.
    run_id: str
    at: int
    #: JSON text.
    result: bytes


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A result in the cache as it is listed."""

    key: str
    dag: str
    task: str
    run_id: str
    at: int
    #: Bytes of the result, or of the reference that stands for it.
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """What a decision changes beside its run: few decisions have one."""

    cached: Sequence[CacheEntry] = ()
    #: Runs with which results are kept that this run's history refers to.
    holds: Collection[str] = ()
    #: The decision fails the run as quarantined.
    quarantined: bool = False
    #: A quarantined run that this one runs again: nobody needs to look at it any more.
    released: str | None = None


class TaskCache(Protocol):
    """Results of tasks by code and inputs. Written by `RunStore.record` only, and forgotten with their runs."""

    async def find(self, keys: Collection[str]) -> dict[str, CacheEntry]:
        """What there is of these keys."""

    async def list(
        self, *, dag: str | None = None, task: str | None = None, before: str | None = None, limit: int
    ) -> list[CachedResult]:
        """Newest first; `before` is the `place` of the last one of the page before."""

    async def clear(
        self,
        *,
        dag: str | None = None,
        task: str | None = None,
        key: str | None = None,
        before: int | None = None,
    ) -> int:
        """Forget what fulfils every condition given (`before`: made before that time); about how many were there."""


def place(result: CachedResult) -> str:
    """Where a listed result stands in the list."""
    return f"{result.at}-{result.key}"
