"""The pools of one service: what the settings say, what was set while it ran, and what is in use.

1. Pools are named in the settings. What somebody sets while the service runs is durable and holds, on every node, until
   it is reset; everything else follows the settings file, which is read again with the project's folders.
2. Slots are counted by each process: a fleet of three nodes runs three times as many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.clock import Clock
from tidemill.dag.definition import Dag
from tidemill.dag.policy import DEFAULT_POOL
from tidemill.engine.demands import check_demands
from tidemill.engine.scheduler import Scheduler
from tidemill.engine.scheduler.machine import machine, pool_limits
from tidemill.engine.scheduler.pool import PoolLimit
from tidemill.errors import NotFound, Problem, StateConflict, StorageError
from tidemill.settings import PoolSettings, Settings
from tidemill.settings import load as load_settings
from tidemill.storage.contract import PoolSetting, Store

__all__ = ["LivePools", "refusing"]

#: How soon a limit that was set at another node is noticed, in seconds.
_LOOK_SECONDS = 1.0


def refusing(settings: Settings, root: Path) -> Callable[[Mapping[str, Dag]], list[Problem]]:
    """What `load` asks: tasks that name a pool which is not there, or ask for more than there ever is."""

    def refuse(dags: Mapping[str, Dag]) -> list[Problem]:
        return [Problem(one.file, one.line, one.message) for one in check_demands(dags, settings, root)]

    return refuse


class LivePools:
    """See above; `load` before the first question."""

    def __init__(self, root: Path, settings: Settings, store: Store, *, clock: Clock) -> None:
        self._root = root
        self._settings = settings
        self._store = store
        self._clock = clock
        self._scheduler: Scheduler | None = None
        self._tell: Callable[[], None] = lambda: None
        #: As the file says it; what was given beside the file holds until the file changes.
        self._written = self._read()
        self._set: dict[str, PoolSetting] = {}

    def attach(self, scheduler: Scheduler, tell: Callable[[], None]) -> None:
        """Follow this scheduler, and `tell` whenever its limits have changed."""
        self._scheduler, self._tell = scheduler, tell
        self._apply()

    async def load(self) -> None:
        """Read what was set. Raises `StorageError`."""
        found = {one.name: one for one in await self._store.pools.all()}
        if found != self._set:
            self._set = found
            self._apply()

    async def follow(self) -> None:
        """Notice what other nodes are told, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            try:
                await self.load()
            except StorageError:
                continue  # what was known last holds

    def reread(self) -> Callable[[Mapping[str, Dag]], list[Problem]]:
        """What is refused by what the settings file says now, which holds from `adopt` on. Raises `SettingsError`."""
        written = self._read()
        if written == self._written:
            return refusing(self._settings, self._root)
        return refusing(self._settings.model_copy(update={"pools": written}), self._root)

    def adopt(self) -> None:
        """What `reread` has found holds from now on."""
        written = self._read()
        if written != self._written:
            self._written = written
            self._settings = self._settings.model_copy(update={"pools": written})
            self._apply()

    def views(self) -> Sequence[Mapping[str, Any]]:
        """Every pool by name, the default pool first."""
        limits = pool_limits(self._settings)
        return [
            self._view(name, limits[name])
            for name in sorted(limits, key=lambda name: (name != DEFAULT_POOL, name))
        ]

    def resources(self) -> Sequence[Mapping[str, Any]]:
        """What this machine has and what of it is in use."""
        if self._scheduler is None:
            return [
                {"name": name, "total": total, "used": 0.0}
                for name, total in sorted(machine(self._settings, self._root).items())
            ]
        stock = self._scheduler.stock
        used = stock.used
        return [
            {"name": name, "total": total, "used": used[name]} for name, total in sorted(stock.total.items())
        ]

    async def set(self, name: str, slots: int, *, by: str) -> None:
        """Let so many slots of a pool be taken; durable on return. Raises `NotFound` and `StateConflict`."""
        self._check(name)
        await self._store.pools.put(name, slots, by=by)
        await self.load()

    async def reset(self, name: str) -> None:
        """Follow the settings again; durable on return. Raises `NotFound` and `StateConflict`."""
        self._check(name)
        await self._store.pools.reset(name)
        await self.load()

    def _check(self, name: str) -> None:
        if name not in pool_limits(self._settings):
            raise NotFound("pool", name)
        if name == DEFAULT_POOL:
            raise StateConflict("the default pool has no slots of its own; give tasks a pool that has")

    def _view(self, name: str, limit: PoolLimit) -> Mapping[str, Any]:
        was_set = self._set.get(name)
        pools = [] if self._scheduler is None else self._scheduler.pools(name)
        return {
            "name": name,
            "slots": limit.slots if was_set is None or limit.slots is None else was_set.slots,
            "used": sum(pool.used for pool in pools),
            "queued": 0 if self._scheduler is None else self._scheduler.queued(name),
            "started": sum(pool.started for pool in pools),
            "waited_seconds": round(sum(pool.waited for pool in pools) / 1_000_000, 6),
            "weight": limit.weight,
            "sharing": limit.sharing.value,
            "max_queued": limit.max_queued,
            "settings_slots": limit.slots,
            "set_by": None if was_set is None else was_set.by,
            "set_at": None if was_set is None else was_set.at,
        }

    def _apply(self) -> None:
        if self._scheduler is None:
            return
        limits = dict(pool_limits(self._settings))
        for name, one in self._set.items():
            if name in limits and name != DEFAULT_POOL:
                limits[name] = replace(limits[name], slots=one.slots)
        for name in self._scheduler.limits.keys() - limits.keys():
            self._scheduler.set_limit(name, None)
        for name, limit in limits.items():
            self._scheduler.set_limit(name, limit)
        self._tell()

    def _read(self) -> dict[str, PoolSettings]:
        return load_settings(self._root).pools
