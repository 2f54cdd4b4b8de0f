"""Reading candidates: is this file complete, and what is the digest of its whole content?

Blocking: runs in threads. A file counts as read only if the name still led to the same version afterwards.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tidemill.sources.files import folder, version, writers
from tidemill.sources.files.manifest import MAX_BYTES
from tidemill.sources.files.proofs import Proof, Proofs
from tidemill.sources.files.version import Announced, Version

__all__ = ["Finding", "Landed", "Nothing", "Reader", "Refused", "Request", "Unreadable", "Unsettled"]

#: Bytes read at once.
CHUNK_BYTES = 1 << 20
#: Bytes that one call reads before it hands back what it has, so that a big file holds up nobody before it.
CALL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """A file to be looked at."""

    path: str
    #: The version it had a quiet time ago; None when that is not known.
    settled: Version | None
    #: True when something says that it is complete (closed, moved into place, marked), so no quiet time is
    #: asked.
    complete: bool


@dataclass(frozen=True, slots=True)
class Landed:
    """A complete file that was not announced."""

    path: str
    version: Version
    #: Hex SHA-256; empty for a name that is not text, whose file is not read.
    digest: str
    #: The whole content, of files that are read for what they say.
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A settled file that is not what its proof says, or whose proof says nothing that can be read."""

    path: str
    version: Version
    digest: str
    code: str
    detail: str
    #: What the ledger calls this version together with this proof.
    key: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Not complete, or changed while it was read: look again after the quiet time."""

    path: str
    version: Version
    #: Seconds after which to look again, where that is not the quiet time.
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """No regular file (any more), not marked (any more), or announced already."""

    path: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The system refused to open or read it."""

    path: str
    reason: str


Finding = Landed | Refused | Unsettled | Nothing | Unreadable


class Reader:
    """Reads files of one folder, from several threads at once."""

    def __init__(
        self,
        path: Path,
        announced: Announced,
        *,
        marker: str | None,
        ask_writers: bool,
        proofs: Proofs | None = None,
        min_age: float = 0.0,
        now_us: Callable[[], int] = lambda: 0,
        keeps: Callable[[str], bool] = lambda _path: False,
    ) -> None:
        """`min_age` in seconds, against `now_us`; `keeps(path)` asks for a file's content beside its digest."""
        self._path = path
        self._announced = announced
        self._marker = marker
        self._ask_writers = ask_writers
        self._proofs = proofs
        self._min_age = min_age
        self._now_us = now_us
        self._keeps = keeps
        self._knows_writers: dict[int, bool] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let running calls end soon; what they return is to be thrown away."""
        self._stopping.set()

    def read(self, requests: Sequence[Request]) -> list[Finding]:
        """Findings for the first requests, at least one; the rest was not looked at.

        Raises OSError when the folder itself cannot be opened.
        """
        findings: list[Finding] = []
        budget = CALL_BYTES
        with folder.open_root(self._path) as root:
            ask_writers = self._ask_writers and self._can_ask(root)
            for request in requests:
                finding = self._read_one(root, request, ask_writers, budget if findings else None)
                if finding is None:
                    break
                findings.append(finding)
                if isinstance(finding, Landed):
                    budget -= finding.version.size
        return findings

    def _can_ask(self, root: int) -> bool:
        device = os.fstat(root).st_dev
        if device not in self._knows_writers:
            self._knows_writers[device] = writers.knows_writers(root)
        return self._knows_writers[device]

    def _read_one(self, root: int, request: Request, ask_writers: bool, budget: int | None) -> Finding | None:
        """The finding for one request; None when its file is larger than `budget`."""
        path = request.path
        try:
            with folder.parent_of(root, path) as (parent, name):
                if self._marker is not None and not _exists(parent, name + self._marker):
                    return Nothing(path)
                with folder.open_file(parent, name) as file:
                    if file is None:
                        return Nothing(path)
                    now = Version.from_stat(os.fstat(file))
                    if self._announced.has(path, now):
                        return self._recall(path, now, file)
                    proof = None if self._proofs is None else self._proofs.find(root, path)
                    if self._proofs is not None and (proof is None or self._was_refused(path, now, proof)):
                        return Nothing(path)
                    if wait := self._youth(request, now):
                        return Unsettled(path, now, wait)
                    if proof is None and not request.complete and request.settled != now:
                        return Unsettled(path, now)
                    if ask_writers and writers.is_open_for_writing(file):
                        return Unsettled(path, now)
                    if budget is not None and now.size > budget:
                        return None
                    content = _content(file) if self._keeps(path) else None
                    digest = self._digest(file, now.size) if version.is_text(path) else ""
                    after = Version.from_stat(os.stat(name, dir_fd=parent, follow_symlinks=False))
                    if digest is None or after != now:
                        return Unsettled(path, after)
                    if proof is not None and digest != proof.digest:
                        # Whoever writes it may not have ended: only what has rested can be wrong.
                        return (
                            _refused(path, now, digest, proof)
                            if request.settled == now
                            else Unsettled(path, now)
                        )
                    return Landed(path, now, digest, content)
        except OSError as error:
            if folder.is_gone(error):
                return Nothing(path)
            return Unreadable(path, error.strerror or type(error).__name__)

    def _recall(self, path: str, now: Version, file: int) -> Landed | Nothing:
        """A version that was announced is nothing new, but may be part of a set that is not complete."""
        digest = self._announced.recall(path, now)
        if digest is None:
            return Nothing(path)
        return Landed(path, now, digest, _content(file) if self._keeps(path) else None)

    def _was_refused(self, path: str, now: Version, proof: Proof) -> bool:
        return self._announced.has(proof.refusal(path), now)

    def _youth(self, request: Request, now: Version) -> float:
        """Seconds until the file is old enough. A time of change in the future counts from when it was first seen."""
        if not self._min_age:
            return 0.0
        age = (self._now_us() - now.mtime_ns // 1000) / 1_000_000
        if age < 0:
            return 0.0 if request.settled == now else self._min_age
        return max(0.0, self._min_age - age)

    def _digest(self, file: int, size: int) -> str | None:
        """The digest of the whole file; None when it is not `size` bytes long, or when we are stopping."""
        digest = sha256()
        count = 0
        while chunk := os.read(file, min(CHUNK_BYTES, max(size - count, 0) + 1)):
            if self._stopping.is_set():
                return None
            digest.update(chunk)
            count += len(chunk)
        return digest.hexdigest() if count == size else None


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _content(file: int) -> bytes:
    """The whole file, cut after the largest list and a byte; the file's position stays."""
    pieces, at = [], 0
    while at <= MAX_BYTES and (piece := os.pread(file, min(CHUNK_BYTES, MAX_BYTES + 1 - at), at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _refused(path: str, now: Version, digest: str, proof: Proof) -> Refused:
    if proof.digest is None:
        code, detail = "invalid_manifest", f"{proof.path}: {proof.error}"
    else:
        code, detail = "digest_mismatch", f"{proof.path} says {proof.digest}"
    return Refused(path, now, digest, code, detail, proof.refusal(path))
