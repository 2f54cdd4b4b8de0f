"""The project as it is while some of its triggers are paused from outside: what is paused in a file stays so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tidemill.project.model import Project

__all__ = ["with_paused"]


def with_paused(project: Project, names: Collection[str]) -> Project:
    """`project` with the triggers of these names paused; names of none say nothing."""
    if not any(one.name in names and not one.paused for one in project.triggers):
        return project
    triggers = [replace(one, paused=True) if one.name in names else one for one in project.triggers]
    return replace(project, triggers=tuple(triggers))
