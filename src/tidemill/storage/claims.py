"""Claim check: data of events above a size is kept in a store of files, and the log holds a reference.

1. Put before the event is logged, under a name made of its identity and content: written again it is the same file. A
   local file is synchronised before its event is; what an object store has answered is durable.
2. What is read back has the size and hash that the reference says, or it is not handed out.
3. Files lie in folders by the day they came, and are deleted by whole folders, long after their events are gone: what
   is being put now is never in a folder that is being deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from tidemill.clock import Clock
from tidemill.errors import DiskFull, SettingsError, StoreUnavailable
from tidemill.events.dataref import FOLDER, Kept, PutAway, day_of, put_away, reference_of, with_data
from tidemill.events.digest import encode_for_log
from tidemill.events.event import Event, LoggedEvent
from tidemill.storage.commit import EventRow, event_row

__all__ = ["EventData"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_THREADS = 8
#: Bytes of content that are remembered, so that who logged an event need not read it back to route it.
_REMEMBERED = 32 << 20
#: Bytes of content that one page of events is filled with; the page ends there.
_PAGE = 32 << 20
#: Names of the folders of runs.
_RUN = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_DAY_US = 86_400_000_000


class EventData:
    """The store at one fsspec URL; `above` is the size in bytes above which data goes there, None puts nothing."""

    def __init__(self, url: str, *, above: int | None = None) -> None:
        """Raises `SettingsError` when the URL cannot be used here."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise SettingsError("claim_check_url needs an extra: pip install 'tidemill[claims]'") from error
        self._url = url.rstrip("/")
        try:
            self._files, self._root = url_to_fs(self._url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"claim_check_url: {url!r} cannot be used: {error}") from error
        protocol = self._files.protocol
        self._is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        self._above = above
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="event-data")
        #: Local folders that are on disk.
        self._made: set[Path] = set()
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    @property
    def puts(self) -> bool:
        """Whether data goes there."""
        return self._above is not None

    async def rows(self, events: Sequence[Event], clock: Clock) -> list[EventRow]:
        """Events ready to be written, large data put away before; raises `StoreUnavailable`, then nothing is logged."""
        at, above = clock.now_us(), self._above
        rows = [event_row(event, at) for event in events]
        if above is None:
            return rows
        large: list[tuple[EventRow, PutAway]] = [
            (row, away)
            for row in rows  # what is stored of an event is never shorter than its data
            if len(row.body) > above and (away := put_away(row.event, self._url, above=above, at=at))
        ]
        if not large:
            return rows
        await asyncio.gather(*[self._call(self._put, away.name, away.content) for _, away in large])
        for row, away in large:
            # The digest stays that of what the producer said, wherever its data is kept.
            row.event, row.body = away.event, encode_for_log(away.event)
            self._remember(away.name, away.content)
        at = clock.now_us()
        for row in rows:
            row.received_at = at
        return rows

    async def filled(self, events: list[LoggedEvent]) -> list[LoggedEvent]:
        """The events with their data, or as many of the first as fit into memory.

        One whose data is gone or damaged stays as it was logged. Raises `StoreUnavailable` when the store does not
        answer.
        """
        wanted: dict[int, Kept] = {}
        size, end = 0, len(events)
        for place, logged in enumerate(events):
            if "dataref" not in logged.event.extensions:
                continue
            kept = reference_of(logged.event)
            if kept is None:
                continue
            size += kept.size
            if size > _PAGE and place:
                end = place
                break
            wanted[place] = kept
        if not wanted:
            return events[:end]
        found = await asyncio.gather(*[self._filled(events[place], kept) for place, kept in wanted.items()])
        filled = events[:end]
        for place, logged in zip(wanted, found, strict=True):
            filled[place] = logged
        return filled

    async def _filled(self, logged: LoggedEvent, kept: Kept) -> LoggedEvent:
        content = self._contents.get(kept.name)
        if content is None:
            content = await self._call(self._get, kept)
        else:
            self._contents.move_to_end(kept.name)
        whole = _whole(logged, kept, content)
        if content is not None and whole is not logged:
            self._remember(kept.name, content)
        return whole

    def whole(self, logged: LoggedEvent) -> LoggedEvent:
        """The event with its data, as `filled` gives it; blocks, and raises what the file system does."""
        kept = reference_of(logged.event)
        return logged if kept is None else _whole(logged, kept, self._get(kept))

    async def forget(self, before: int) -> int:
        """Delete the data that came on days which ended a day or more before that time; the number of those days.

        Nothing in the log may be older than `before`; raises `StoreUnavailable`.
        """
        return await self._call(self._forget, day_of(before - _DAY_US))

    async def forget_results(self, runs: Sequence[str]) -> None:
        """Delete the results that are kept for these runs; raises `StoreUnavailable`."""
        if runs:
            await self._call(self._forget_runs, runs)

    def close(self) -> None:
        """Let go of the threads; what one of them is about ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _remember(self, name: str, content: bytes) -> None:
        contents = self._contents
        self._size += len(content) - len(contents.pop(name, b""))
        contents[name] = content
        while self._size > _REMEMBERED:
            self._size -= len(contents.popitem(last=False)[1])

    async def _call(self, function: Callable[..., _T], *values: Any) -> _T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, function, *values)
        except StoreUnavailable:
            raise
        except Exception as error:  # each file system has its own
            detail = f"{self._url}: {type(error).__name__}: {str(error)[:300]}"
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise DiskFull(f"data of events cannot be kept, {detail}") from error
            raise StoreUnavailable(f"data of events cannot be had or kept, {detail}") from error

    # ── in a thread ──

    def _put(self, name: str, content: bytes) -> None:
        if self._is_local:
            self._write(Path(self._root) / name, content)
        else:
            self._files.pipe_file(f"{self._root}/{name}", content)

    def _write(self, path: Path, content: bytes) -> None:
        """A file that is whole and on disk when it has its name."""
        self._make_folder(path.parent)
        unfinished = path.with_name(f".{uuid4().hex}.tmp")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        _synchronise(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if folder in self._made and folder.is_dir():
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        root, above = Path(self._root), folder
        while above != root and above != above.parent:
            above = above.parent
            _synchronise(above)
        self._made.add(folder)

    def _get(self, kept: Kept) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{kept.name}", end=kept.size + 1)
        except FileNotFoundError:
            if self._is_local and not (Path(self._root) / FOLDER).is_dir():
                raise  # nothing is there at all: not mounted, and not lost
            return None
        return content

    def _forget(self, first_kept: str) -> int:
        if not self._files.isdir(f"{self._root}/{FOLDER}"):
            return 0
        self._files.invalidate_cache()
        paths = self._files.ls(f"{self._root}/{FOLDER}", detail=False)
        old = [
            path
            for path in paths
            if _is_day(name := path.rstrip("/").rpartition("/")[2]) and name < first_kept
        ]
        for path in old:
            if self._is_local:
                shutil.rmtree(path)
            else:
                self._files.rm(path, recursive=True)
        return len(old)

    def _forget_runs(self, runs: Sequence[str]) -> None:
        self._files.invalidate_cache()
        for run in runs:
            if not _RUN.fullmatch(run) or run == FOLDER:
                continue
            path = f"{self._root}/{run}"
            if self._is_local:
                if Path(path).is_dir():
                    shutil.rmtree(path)
            elif self._files.exists(path):
                self._files.rm(path, recursive=True)


def _whole(logged: LoggedEvent, kept: Kept, content: bytes | None) -> LoggedEvent:
    event = None if content is None else with_data(logged.event, kept, content)
    if event is not None:
        return replace(logged, event=event)
    found = None if content is None else len(content)
    facts = {"position": logged.position, "dataref": logged.event.extensions["dataref"], "found": found}
    logger.error("store.data_lost", extra=facts)
    return logged


def _is_day(name: str) -> bool:
    return len(name) == len("2000-01-01") and name.replace("-", "").isdecimal()


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
