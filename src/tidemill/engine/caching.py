"""Results of tasks that were made before for the same code and the same inputs: looked up before a slot is taken.

1. Only tasks with a `Cache` pay: those that became ready since the last turn are looked up together, in one reading.
2. A key is a hash of what the task is called with and of its code (`code_digest`), so that any change of either misses.
   Inputs that are no JSON make the task one that is not remembered.
3. A result goes into the cache in the transaction that records it. Two that miss at once are both called: results of
   the same code for the same inputs are taken to be the same, and the later one stays.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import orjson

from tidemill.dag.binding import Arguments
from tidemill.dag.definition import Dag
from tidemill.engine.carried import LiveReuse
from tidemill.engine.code_digest import code_digest
from tidemill.engine.live import LiveRun
from tidemill.runs.arguments import make_arguments
from tidemill.runs.claims import claim_in
from tidemill.runs.inputs import GivenResults
from tidemill.runs.reuse import How, Reused
from tidemill.runs.state import TaskState
from tidemill.storage.contract import CacheEntry, TaskCache

__all__ = ["Caching", "fresh"]

#: Functions of which the digest and signature are remembered.
_KNOWN = 10_000


class Caching:
    """The tasks that wait to be looked up."""

    def __init__(self, cache: TaskCache) -> None:
        self._cache = cache
        self._waiting: list[tuple[LiveRun, int, str]] = []
        #: What was decided to be remembered and is not on disk yet: since the last batch, and in it.
        self._gathered: dict[str, CacheEntry] = {}
        self._flying: dict[str, CacheEntry] = {}
        self._code: dict[Callable[..., Any], tuple[str, inspect.Signature]] = {}

    def enter(self, live: LiveRun) -> None:
        """A run has begun or was read back: have it remember what its cached tasks need."""
        if live.reuse is None and uses_cache(live.dag):
            live.reuse = LiveReuse()

    def takes(self, live: LiveRun, index: int) -> bool:
        """Whether the ready task is looked up first; `look_up` tells of it then."""
        policy = live.state.node(index).policy
        if policy.cache is None or live.reuse is None:
            return False
        key = self._key(live, index)
        if key is None:
            return False
        if live.state.attempts[index]:  # begun before: it is called again, and then remembered
            live.reuse.keys[index] = key
            return False
        self._waiting.append((live, index, key))
        return True

    async def look_up(self) -> list[tuple[LiveRun, int, str, CacheEntry | None]]:
        """What became of all that wait; raises `StorageError`, and they wait on."""
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, []
        try:
            found = await self._cache.find({key for _, _, key in waiting})
        except BaseException:
            self._waiting = waiting + self._waiting
            raise
        # What is not on disk yet is there before whatever is decided now.
        found |= self._flying | self._gathered
        return [(live, index, key, found.get(key)) for live, index, key in waiting]

    def remember(self, live: LiveRun, index: int, result: bytes, at: int) -> None:
        """A task has returned: its result goes into the cache with its record, where it has a key."""
        reuse = live.reuse
        key = None if reuse is None else reuse.keys.pop(index, None)
        if reuse is None or key is None or live.state.tasks[index] is not TaskState.SUCCEEDED:
            return
        entry = CacheEntry(key, live.run.dag, live.state.node(index).task_id, live.run_id, at, result)
        reuse.cached.append(entry)
        self._gathered[key] = entry

    def taken_off(self) -> None:
        """What was gathered is on its way to the disk."""
        self._flying, self._gathered = self._gathered, {}

    def landed(self) -> None:
        """It is there."""
        self._flying = {}

    def _key(self, live: LiveRun, index: int) -> str | None:
        node = live.state.node(index)
        cache = node.policy.cache
        assert cache is not None  # noqa: S101 - only such tasks have keys
        try:
            args, kwargs = _arguments(live, index)
            code, signature = self._code_of(node.function)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            inputs = orjson.dumps(
                dict(bound.arguments), default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
            )
        except (
            Exception
        ):  # whatever constants and types of the user's own raise: the task tells it when it is called
            return None
        digest = hashlib.sha256()
        for part in (code, cache.version, node.policy.result):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(inputs)
        return digest.hexdigest()

    def _code_of(self, function: Callable[..., Any]) -> tuple[str, inspect.Signature]:
        found = self._code.get(function)
        if found is None:
            if len(self._code) >= _KNOWN:
                self._code.clear()
            found = self._code[function] = (code_digest(function), inspect.signature(function))
        return found


def uses_cache(dag: Dag) -> bool:
    """Whether results of some task of the DAG are remembered."""
    return any(node.policy.cache is not None for node in dag.tasks)


def fresh(live: LiveRun, index: int, entry: CacheEntry, now: int) -> Reused | None:
    """What was found, as the task's result; None when it is too old."""
    cache = live.state.node(index).policy.cache
    if cache is not None and cache.max_age is not None and entry.at + cache.max_age / _MICROSECOND <= now:
        return None
    return Reused(entry.result, How.CACHED, entry.run_id)


_MICROSECOND = timedelta(microseconds=1)


class _Digests(GivenResults):
    """Results, with the hash of what is kept elsewhere in its place."""

    __slots__ = ()

    def __getitem__(self, index: int) -> Any:
        value = orjson.loads(self._texts.get(index, b"null"))
        claim = claim_in(value)
        return value if claim is None else {"sha256": claim.sha256}


def _arguments(live: LiveRun, index: int) -> Arguments:
    """What the task is called with, but for its context."""
    attempt = live.attempt(index)
    if attempt.inputs is None:
        return attempt.args, attempt.kwargs
    return make_arguments(
        live.run_id,
        live.dag,
        node=attempt.node,
        number=attempt.number,
        results=_Digests(live.state.results, None),
        parameters=live.parameters,
        event=None,
        task_id=attempt.task_id,
        item=attempt.inputs.item,
    )


def _plain(value: Any) -> Any:
    """A JSON value for what JSON has no word for, different for different values of a kind."""
    match value:
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return ["set", *sorted(orjson.dumps(one, default=_plain).decode() for one in value)]
        case bytes() | bytearray() | Decimal() | PurePath() | complex() | date() | time() | Enum():
            return [type(value).__qualname__, repr(value)]
        case timedelta():
            return ["timedelta", value / _MICROSECOND]
        case tuple():
            return list(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return [type(value).__qualname__, dump(mode="json")]
    raise TypeError(type(value).__name__)
