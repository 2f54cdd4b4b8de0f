"""Results too large to travel: kept in a store of files, a small reference in their place.

A reference is honoured only when it names a file of this project's own store, and what is read must have the size and
hash that it says: data that merely looks like a reference is data.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from tidemill.errors import SettingsError
from tidemill.runs.claims import may_be_claim

__all__ = ["LARGEST", "ClaimFailure", "Claims", "Reference", "may_be_claim"]

#: `run/task-attempt-hash`, the names that `put` gives.
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}/\d{1,9}-\d{1,9}-[0-9a-f]{16}\.json", re.ASCII)
#: Longest content that is read back, in bytes.
LARGEST = 1 << 32


class ClaimFailure(Exception):  # noqa: N818 - becomes the failure of an attempt
    """The content of a reference cannot be had; `permanent` when asking again cannot help."""

    def __init__(self, kind: str, message: str, *, permanent: bool = False) -> None:
        self.kind = kind
        self.permanent = permanent
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a result is, and what it must be."""

    url: str
    name: str
    size: int
    sha256: str


class Claims:
    """The store at one fsspec URL (`file:///mnt/results`, `s3://bucket/results`); its calls block."""

    def __init__(self, url: str) -> None:
        """Raises `SettingsError` when the URL cannot be used here."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise SettingsError("claim_check_url needs an extra: pip install 'tidemill[claims]'") from error
        self.url = url.rstrip("/")
        try:
            self._files, self._root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"claim_check_url: {url!r} cannot be used: {error}") from error

    def put(self, run_id: str, index: int, number: int, content: bytes) -> bytes:
        """Keep a result; its reference as JSON text. Raises `ClaimFailure`."""
        digest = hashlib.sha256(content).hexdigest()
        name = f"{run_id}/{index}-{number}-{digest[:16]}.json"
        path = f"{self._root}/{name}"
        try:
            if _is_local(self._files):
                _write(Path(path), content)
            else:
                self._files.pipe_file(path, content)
        except Exception as error:  # each file system has its own
            raise ClaimFailure("ClaimNotStored", f"{self.url}: {_describe(error)}") from error
        return orjson.dumps({"$claim": f"{self.url}/{name}", "size": len(content), "sha256": digest})

    def read(self, text: bytes) -> Reference | None:
        """The reference that a result's JSON text is, None when it is an ordinary result."""
        if not may_be_claim(text):
            return None
        try:
            found: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if found.keys() != {"$claim", "size", "sha256"}:
            return None
        url, size, digest = found["$claim"], found["size"], found["sha256"]
        if type(url) is not str or type(size) is not int or type(digest) is not str:
            return None
        place, _, name = url.partition(self.url + "/")
        if place or not _NAME.fullmatch(name) or not 0 <= size <= LARGEST:
            return None
        return Reference(url, name, size, digest)

    def get(self, reference: Reference) -> bytes:
        """The content, checked. Raises `ClaimFailure`."""
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{reference.name}", end=reference.size + 1)
        except FileNotFoundError as error:
            raise ClaimFailure("ClaimLost", f"{reference.url} is not there") from error
        except Exception as error:  # each file system has its own
            raise ClaimFailure("ClaimLost", f"{reference.url}: {_describe(error)}") from error
        if len(content) != reference.size or hashlib.sha256(content).hexdigest() != reference.sha256:
            message = (
                f"{reference.url} is not what was stored ({len(content)} bytes, {reference.size} expected)"
            )
            raise ClaimFailure("ClaimDamaged", message, permanent=True)
        return content

    def load(self, text: bytes) -> bytes:
        """The result itself: `text` as it is, or what it refers to. Raises `ClaimFailure`."""
        reference = self.read(text)
        return text if reference is None else self.get(reference)


def _write(path: Path, content: bytes) -> None:
    """A file that is whole and on disk when it has its name: what refers to it is recorded afterwards."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid4().hex}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_local(files: Any) -> bool:
    protocol = files.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
