"""One line of JSON per figure, with the floor measured in the same run."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from importlib import metadata
from typing import Any

__all__ = ["report"]


def report(bench: str, value: float, unit: str, floor: float | None, **config: Any) -> None:
    """Print a figure; `ratio` is value over floor for rates, floor over value would be the same for latencies."""
    versions = {name: metadata.version(name) for name in ("aiosqlite", "uvicorn", "uvloop")}
    line = {
        "bench": bench,
        "value": round(value, 3),
        "unit": unit,
        "floor": None if floor is None else round(floor, 3),
        "ratio": None if not floor else round(value / floor, 3),
        "config": {
            **config,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **versions,
        },
    }
    print(json.dumps(line), flush=True)
