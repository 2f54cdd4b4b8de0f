"""Segments of the log as files: one gzip-compressed JSON Lines file each, named by its first and last position.

1. A file is written under another name and renamed when it is on disk: what has its name is whole.
2. The same segment written again is the same file: an archive may be written twice and read at any time.
3. A line holds `position`, `received_at` (microseconds since the epoch), `event` (CloudEvents JSON format) and
   `dispositions` (trigger, kind, run, detail, dag, parameters).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tidemill.errors import SettingsError, StorageError
from tidemill.events import json_format
from tidemill.events.event import LoggedEvent
from tidemill.ids import new_id
from tidemill.storage.contract import Became, Disposition, DispositionKind

__all__ = ["Archive", "Archived", "FolderArchive", "Packed", "UrlArchive", "from_json", "open_archive"]

_NAME = re.compile(r"events-(\d{20})-(\d{20})\.jsonl\.gz", re.ASCII)
#: Of the member that gzip writes, so that the same content is the same file.
_NO_TIME = 0


@dataclass(frozen=True, slots=True)
class Archived:
    """One event as it was archived."""

    logged: LoggedEvent
    became: Sequence[Became] = ()


class Packed:
    """Consecutive events on their way into a file: what is in memory is as large as the file."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._file = gzip.GzipFile(
            filename="", mode="wb", compresslevel=6, fileobj=self._buffer, mtime=_NO_TIME
        )
        self._first = self._last = 0

    async def add(self, events: Sequence[Archived]) -> None:
        """Add the next events."""
        self._first = self._first or events[0].logged.position
        self._last = events[-1].logged.position
        await asyncio.to_thread(self._write, events)

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"events-{self._first:020}-{self._last:020}.jsonl.gz"

    def content(self) -> bytes:
        """The whole file; nothing may be added any more."""
        self._file.close()
        return self._buffer.getvalue()

    def _write(self, events: Sequence[Archived]) -> None:
        for one in events:
            self._file.write(_line(one))


class Archive:
    """Files of segments; its calls block, except `put`."""

    async def put(self, events: Sequence[Archived]) -> str:
        """Keep consecutive events; the file's name. On disk on return.

        Raises `StorageError` when it cannot be written: nothing may be dropped then.
        """
        packed = Packed()
        await packed.add(events)
        return await self.keep(packed)

    async def keep(self, packed: Packed) -> str:
        """Keep events that were packed page by page, like `put`."""
        name, content = packed.name, packed.content()
        try:
            await asyncio.to_thread(self.write, name, content)
        except Exception as error:  # each file system has its own
            raise StorageError(f"the archive cannot be written: {error}") from error
        return name

    async def holding(self, first: int, last: int) -> str | None:
        """Name of a file that holds all events from `first` to `last`; None when there is none.

        Raises `StorageError` when it cannot be said.
        """
        try:
            names = await asyncio.to_thread(self.names)
        except Exception as error:  # each file system has its own
            raise StorageError(f"the archive cannot be read: {error}") from error
        found = (written for name in names if (written := _NAME.fullmatch(name)))
        return next((one[0] for one in found if int(one[1]) <= first and last <= int(one[2])), None)

    def read(self, after: int = 0) -> Iterator[Archived]:
        """Archived events with position > `after`, in order; those of overlapping files once."""
        done = after
        for name in sorted(self.names()):
            written = _NAME.fullmatch(name)
            if written is None or int(written[2]) <= done:
                continue
            for line in gzip.GzipFile(fileobj=io.BytesIO(self.content(name))):
                archived = from_json(orjson.loads(line))
                if archived.logged.position > done:
                    done = archived.logged.position
                    yield archived

    def names(self) -> list[str]:
        """Names of everything that is there."""
        raise NotImplementedError

    def content(self, name: str) -> bytes:
        """The bytes of one file."""
        raise NotImplementedError

    def write(self, name: str, content: bytes) -> None:
        """Write one file whole."""
        raise NotImplementedError


class FolderArchive(Archive):
    """Files in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []

    def content(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Under a name of its own: a node that was taken for dead may still be writing the same segment.
        unfinished = self._folder / f".{name}.{new_id()}.tmp"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class UrlArchive(Archive):
    """Files under an fsspec URL, which several nodes can reach."""

    def __init__(self, url: str) -> None:
        """Raises `SettingsError` when the URL cannot be used here."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise SettingsError("archive_url needs an extra: pip install 'tidemill[claims]'") from error
        try:
            self._files, self._root = url_to_fs(url.rstrip("/"))
        except (ImportError, ValueError) as error:
            raise SettingsError(f"archive_url: {error}") from error

    def names(self) -> list[str]:
        if not self._files.isdir(self._root):
            return []
        return [path.rpartition("/")[2] for path in self._files.ls(self._root, detail=False)]

    def content(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        # Object stores show an object when it is whole; file systems get another name first.
        self._files.makedirs(self._root, exist_ok=True)
        unfinished = f"{self._root}/{name}.{new_id()}.tmp"
        self._files.pipe_file(unfinished, content)
        self._files.mv(unfinished, f"{self._root}/{name}")


def open_archive(place: str, root: Path) -> Archive:
    """The archive at an fsspec URL, or in a folder (relative to `root`)."""
    return UrlArchive(place) if "://" in place else FolderArchive(root / place)


def _line(one: Archived) -> bytes:
    return orjson.dumps(
        {
            "position": one.logged.position,
            "received_at": one.logged.received_at,
            "event": orjson.Fragment(json_format.encode(one.logged.event)),
            "dispositions": [_disposition(each) for each in one.became],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _disposition(one: Became) -> dict[str, Any]:
    found = one.disposition
    return {
        "trigger": found.trigger,
        "kind": found.kind,
        "run": found.run_id,
        "detail": found.detail,
        "dag": one.dag,
        "parameters": None if one.parameters is None else orjson.Fragment(one.parameters),
    }


def from_json(value: Mapping[str, Any]) -> Archived:
    """One line of a file, read."""
    position = value["position"]
    event = json_format.from_json(value["event"])
    became = [_became(position, each) for each in value["dispositions"]]
    return Archived(LoggedEvent(position, value["received_at"], event), became)


def _became(position: int, value: dict[str, Any]) -> Became:
    kind = DispositionKind(value["kind"])
    parameters = value["parameters"]
    return Became(
        Disposition(position, value["trigger"], kind, value["run"], value["detail"]),
        value["dag"],
        None if parameters is None else orjson.dumps(parameters),
    )
