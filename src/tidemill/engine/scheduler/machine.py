"""What this machine has for tasks, and what its pools let in, as the settings say it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tidemill.dag.policy import DEFAULT_POOL
from tidemill.dag.resources import parse_bytes
from tidemill.engine.scheduler.pool import PoolLimit, Sharing
from tidemill.errors import SettingsError
from tidemill.settings import Settings

__all__ = ["machine", "pool_limits"]

_BYTES = ("memory", "storage")
#: Waiting tasks of the default pool at which runs are held back, where the settings say nothing.
_DEFAULT_QUEUED = 200_000


def machine(settings: Settings, root: Path | None = None) -> Mapping[str, float]:
    """Amounts by name; what nobody names and nobody can look up is not there. Raises `SettingsError`."""
    found: dict[str, float] = {"cpu": float(os.cpu_count() or 1), "memory": float(_memory())}
    try:
        found["storage"] = float(shutil.disk_usage(root or Path.cwd()).free)
    except OSError:
        found["storage"] = 0.0
    for name, written in settings.resources.items():
        found[name] = _amount(name, written)
    return found


def pool_limits(settings: Settings) -> Mapping[str, PoolLimit]:
    """The pools of the settings, and the default pool."""
    found = {
        name: PoolLimit(
            slots=one.slots, weight=one.weight, sharing=Sharing(one.sharing), max_queued=one.max_queued
        )
        for name, one in settings.pools.items()
    }
    return {DEFAULT_POOL: PoolLimit(max_queued=_DEFAULT_QUEUED), **found}


def _amount(name: str, written: float | str) -> float:
    if name in _BYTES and isinstance(written, str):
        size = parse_bytes(written)
        if size is not None:
            return float(size)
    try:
        amount = float(written)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        wanted = 'bytes or a text such as "16GiB"' if name in _BYTES else "a number from 0"
        raise SettingsError(f"resources.{name}: must be {wanted}, not {written!r}")
    if name == "gpu" and amount != int(amount):
        raise SettingsError(f"resources.gpu: is a number of devices, not {written!r}")
    return amount


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
