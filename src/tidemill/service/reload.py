"""Hot reload: the project's folders are looked at, and an edit that is right becomes the live version as a whole.

1. An edit that is wrong changes nothing: the version that was live goes on, and the problems are told.
2. Files are read when they have not changed between two looks, so that an edit in several files is one edit.
3. Looking costs a stat per file; it works on every file system, which telling of changes does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.clock import Clock
from tidemill.errors import DefinitionError, Problem, SettingsError, StoreUnavailable
from tidemill.project.load import Refuse, load
from tidemill.project.model import Project

__all__ = ["Reloaded", "Reloader"]

logger = logging.getLogger(__name__)

_FOLDERS = ("workflows", "triggers", "schemas")
_SETTINGS = "tidemill.toml"
_SUFFIXES = frozenset({".py", ".yaml", ".yml", ".json"})

#: Path, modification time and size of every file that says something.
_Print = frozenset[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a look at the folders came to."""

    version: str
    #: Whether another version went live.
    changed: bool
    #: Everything wrong with the folders; then the version that was live still is.
    problems: Sequence[Problem] = ()


class Reloader:
    """Keeps the live project up with its folders."""

    def __init__(
        self,
        root: Path,
        *,
        current: Callable[[], Project],
        apply: Callable[[Project], Awaitable[None]],
        clock: Clock,
        max_tasks: int,
        every_seconds: float,
        refusing: Callable[[], Refuse | None] = lambda: None,
        adopt: Callable[[], None] = lambda: None,
    ) -> None:
        """`apply` makes a project the live one; it raises `SettingsError` and changes nothing where that cannot be.

        `refusing` gives what is refused by what the settings file says now (raises `SettingsError`), and `adopt` lets
        that hold, once the project fits.
        """
        self._refusing = refusing
        self._adopt = adopt
        self._root = root
        self._current = current
        self._apply = apply
        self._clock = clock
        self._max_tasks = max_tasks
        self._every_seconds = every_seconds
        self._one_at_a_time = asyncio.Lock()
        self._closed = False
        #: As the folders were when they were read last.
        self._seen = _look(root)
        self._problems: Sequence[Problem] = ()

    @property
    def problems(self) -> Sequence[Problem]:
        """What was wrong with the folders when they were read last."""
        return self._problems

    async def run(self) -> None:
        """Look for edits until cancelled."""
        if not self._every_seconds:
            await asyncio.Event().wait()
        before = self._seen
        while True:
            await self._clock.sleep(self._every_seconds)
            found = await asyncio.to_thread(_look, self._root)
            if found == before and found != self._seen:
                with contextlib.suppress(StoreUnavailable):  # read again at the next look
                    await self.reload()
            before = found

    async def close(self) -> None:
        """Make nothing live any more; what is being made live is on return."""
        self._closed = True
        async with self._one_at_a_time:
            pass

    async def reload(self) -> Reloaded:
        """Read the folders now, and make what they say live where it is right.

        Raises `StoreUnavailable` when it could not be made live for now; it is tried again by itself.
        """
        async with self._one_at_a_time:
            begun = time.monotonic()
            was = self._current().version
            self._seen = await asyncio.to_thread(_look, self._root)
            try:
                refuse = self._refusing()
                project = await asyncio.to_thread(load, self._root, max_tasks=self._max_tasks, refuse=refuse)
                if self._closed:
                    raise SettingsError("the service is stopping")
                if project.version != was:
                    await self._apply(project)
                self._adopt()
            except DefinitionError as error:
                return self._refuse(was, error.problems)
            except SettingsError as error:
                return self._refuse(was, [Problem("tidemill.toml", 0, str(error))])
            except (StoreUnavailable, OSError) as error:
                self._seen = frozenset()  # as if it had never been read
                if isinstance(error, StoreUnavailable):
                    raise
                return self._refuse(was, [Problem("", 0, f"the folders cannot be read: {error}")])
            except Exception as error:  # no edit stops the service
                logger.exception("project.failed", extra={"version": was, "error": repr(error)})
                return self._refuse(was, [Problem("", 0, f"{type(error).__name__}: {error}")])
            self._problems = ()
            if project.version == was:
                return Reloaded(was, changed=False)
            seconds = round(time.monotonic() - begun, 3)
            facts = {"version": project.version, "was": was, "seconds": seconds}
            logger.info("project.reloaded", extra=facts)
            for warning in project.warnings:
                logger.warning("project.warning", extra={"warning": warning})
            return Reloaded(project.version, changed=True)

    def _refuse(self, version: str, problems: Sequence[Problem]) -> Reloaded:
        self._problems = tuple(problems)
        told = [str(problem) for problem in problems]
        logger.error("project.refused", extra={"version": version, "problems": told})
        return Reloaded(version, changed=False, problems=self.problems)


def _look(root: Path) -> _Print:
    found = set()
    with contextlib.suppress(OSError):  # a project need not have one
        state = (root / _SETTINGS).stat()
        found.add((_SETTINGS, state.st_mtime_ns, state.st_size))
    for folder in _FOLDERS:
        try:
            for path in (root / folder).rglob("*"):
                if path.suffix not in _SUFFIXES or "__pycache__" in path.parts:
                    continue
                with contextlib.suppress(OSError):  # gone meanwhile: the next look finds it so
                    state = path.stat()
                    found.add((str(path), state.st_mtime_ns, state.st_size))
        except OSError:
            continue  # a folder went while it was read: the next look finds it so
    return frozenset(found)
