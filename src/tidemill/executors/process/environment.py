"""Which of the service's environment variables its tasks see: those on a list, and never Tidemill's own."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

__all__ = ["allowed_environment"]

#: Variables with this prefix are settings, some of them secrets.
_OWN = "TIDEMILL_"


def allowed_environment(names: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment` that `names` (comma-separated, `*` stands for anything) lets through."""
    patterns = [name for one in names.split(",") if (name := one.strip())]
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_OWN) and any(fnmatchcase(name, pattern) for pattern in patterns)
    }
