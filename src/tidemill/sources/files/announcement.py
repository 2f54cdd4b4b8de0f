"""From landed files and sets to the job that announces them. No I/O; dead letters get an id.

A name that cannot be an event's subject (bytes that are not UTF-8, control characters) is refused as a dead
letter with its bytes, and so is a file that is not what its checksum says; the version goes into the ledger with
the letter, so that it is refused once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill import ids
from tidemill.errors import EventRejected
from tidemill.events import event, lifecycle
from tidemill.project.model import FileSource
from tidemill.sources.files.archiving import archived_to
from tidemill.sources.files.reader import Landed, Refused
from tidemill.sources.files.sets import FileSet
from tidemill.sources.files.version import Version, is_text, readable
from tidemill.storage.contract import Append, DeadLetter, FileVersion

__all__ = [
    "MAX_LISTED",
    "STAGE",
    "announce",
    "announce_set",
    "file_event_id",
    "has_event",
    "refuse",
    "refuse_set",
]

#: The stage that dead letters of file sources carry.
STAGE = "files"
#: Most files that the event of a set lists.
MAX_LISTED = 5_000


def announce(spec: FileSource, landed: Sequence[Landed | Refused], *, at: int) -> Append:
    """The job that appends an event for each file, or a dead letter, and remembers every version."""
    events: list[event.Event] = []
    letters: list[DeadLetter] = []
    for file in landed:
        if isinstance(file, Refused):
            letters.append(_letter(spec, file, EventRejected(file.code, file.detail), at))
            continue
        try:
            events.append(_event(spec, file))
        except EventRejected as refusal:
            letters.append(_letter(spec, file, refusal, at))
    return _job(spec, events, [_row(spec, file) for file in landed], letters)


def refuse(spec: FileSource, file: Landed | Refused, refusal: EventRejected, *, at: int) -> Append:
    """The job that dead-letters one file whose event the log refused."""
    return _job(spec, (), [_row(spec, file)], [_letter(spec, file, refusal, at)])


def announce_set(spec: FileSource, found: FileSet) -> Append:
    """The job that appends the event of a set and remembers its version and those of all its files."""
    return _job(spec, [_set_event(spec, found)], _set_rows(spec, found), ())


def refuse_set(spec: FileSource, found: FileSet, refusal: EventRejected, *, at: int) -> Append:
    """The job that dead-letters a set; the same version of it is not looked at again."""
    coordinates = {
        "folder": str(spec.path),
        "key": readable(found.key),
        "files": [readable(file.path) for file in found.files[:100]],
        "wrong": [readable(path) for path in found.wrong[:100]],
    }
    letter = _dead(spec, refusal, at, coordinates, os.fsencode(found.key))
    return _job(spec, (), _set_rows(spec, found), [letter])


def file_event_id(spec: FileSource, path: str, version: Version) -> str:
    """The id of the event that announced a version."""
    return _event(spec, Landed(path, version, "")).id


def has_event(spec: FileSource, file: Landed) -> bool:
    """Whether the file's announcement is an event, not a dead letter."""
    try:
        _event(spec, file)
    except EventRejected:
        return False
    return True


def _job(
    spec: FileSource,
    events: Sequence[event.Event],
    files: Sequence[FileVersion],
    letters: Sequence[DeadLetter],
) -> Append:
    return Append(
        events=events, files=files, dead_letters=letters, refuse_reuse=False, stage=STAGE, origin=spec.name
    )


def _event(spec: FileSource, file: Landed) -> event.Event:
    if not is_text(file.path):
        raise EventRejected("invalid_encoding", "the file's name is not UTF-8", attribute="subject")

    def build(target: str | None) -> event.Event:
        return lifecycle.file_landed(
            type=spec.event_type,
            source=_source(spec),
            folder=str(spec.path),
            path=file.path,
            inode=file.version.inode,
            size=file.version.size,
            mtime_ns=file.version.mtime_ns,
            digest=file.digest,
            archived_to=target,
        )

    try:
        built = build(None)
        target = archived_to(spec, built.id, file.path)
        return built if target is None else build(target)
    except (OverflowError, ValueError) as error:  # a time of change that is in no calendar
        raise EventRejected(
            "number_out_of_range", f"the file's time of change is no date: {error}", attribute="time"
        ) from error


def _set_event(spec: FileSource, found: FileSet) -> event.Event:
    try:
        return lifecycle.file_set_landed(
            type=spec.event_type,
            source=_source(spec),
            folder=str(spec.path),
            key=found.key,
            keys=found.holes,
            digest=found.digest,
            mtime_ns=max(file.version.mtime_ns for file in found.files),
            count=len(found.files),
            size=sum(file.version.size for file in found.files),
            files=[
                {"path": readable(file.path), "size": file.version.size, "digest": file.digest}
                for file in found.files[:MAX_LISTED]
            ],
            archived_to=archived_to(spec, found.digest, ""),
        )
    except (OverflowError, ValueError) as error:
        raise EventRejected(
            "number_out_of_range", f"a file's time of change is no date: {error}", attribute="time"
        ) from error


def _set_rows(spec: FileSource, found: FileSet) -> list[FileVersion]:
    version = found.version
    own = FileVersion(
        spec.name, readable(found.name), version.inode, version.size, version.mtime_ns, found.digest
    )
    controls = () if found.control is None else (found.control,)
    return [own, *(_row(spec, file) for file in (*found.files, *controls))]


def _source(spec: FileSource) -> str:
    return spec.event_source or f"/tidemill/sources/{spec.name}"


def _row(spec: FileSource, file: Landed | Refused) -> FileVersion:
    found = file.version
    path = file.key if isinstance(file, Refused) else file.path
    return FileVersion(spec.name, readable(path), found.inode, found.size, found.mtime_ns, file.digest)


def _letter(spec: FileSource, file: Landed | Refused, refusal: EventRejected, at: int) -> DeadLetter:
    coordinates = {
        "folder": str(spec.path),
        "path": readable(file.path),
        "inode": file.version.inode,
        "size": file.version.size,
        "mtime_ns": file.version.mtime_ns,
        "digest": file.digest,
    }
    return _dead(spec, refusal, at, coordinates, os.fsencode(file.path))


def _dead(
    spec: FileSource, refusal: EventRejected, at: int, coordinates: Mapping[str, Any], body: bytes
) -> DeadLetter:
    return DeadLetter(
        id=ids.new_id(),
        at=at,
        stage=STAGE,
        code=refusal.code,
        detail=refusal.detail,
        origin=spec.name,
        coordinates=coordinates,
        body=body,
    )
