"""From landed files to the job that announces them. No I/O; dead letters get an id.

A name that cannot be an event's subject (bytes that are not UTF-8, control characters) is refused as a dead
letter with its bytes; its version goes into the ledger with it, so that it is refused once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tidemill import ids
from tidemill.errors import EventRejected
from tidemill.events import event, lifecycle
from tidemill.project.model import FileSource
from tidemill.sources.files.reader import Landed
from tidemill.sources.files.version import is_text, readable
from tidemill.storage.contract import Append, DeadLetter, FileVersion

__all__ = ["STAGE", "announce", "refuse"]

#: The stage that dead letters of file sources carry.
STAGE = "files"


def announce(spec: FileSource, landed: Sequence[Landed], *, at: int) -> Append:
    """The job that appends an event for each file, or a dead letter, and remembers every version."""
    events: list[event.Event] = []
    letters: list[DeadLetter] = []
    for file in landed:
        try:
            events.append(_event(spec, file))
        except EventRejected as refusal:
            letters.append(_letter(spec, file, refusal, at))
    return Append(
        events=events,
        files=[_row(spec, file) for file in landed],
        dead_letters=letters,
        refuse_reuse=False,
        stage=STAGE,
        origin=spec.name,
    )


def refuse(spec: FileSource, file: Landed, refusal: EventRejected, *, at: int) -> Append:
    """The job that dead-letters one file whose event the log refused."""
    letter = _letter(spec, file, refusal, at)
    return Append(
        files=[_row(spec, file)], dead_letters=[letter], refuse_reuse=False, stage=STAGE, origin=spec.name
    )


def _event(spec: FileSource, file: Landed) -> event.Event:
    if not is_text(file.path):
        raise EventRejected("invalid_encoding", "the file's name is not UTF-8", attribute="subject")
    try:
        return lifecycle.file_landed(
            type=spec.event_type,
            source=spec.event_source or f"/tidemill/sources/{spec.name}",
            folder=str(spec.path),
            path=file.path,
            inode=file.version.inode,
            size=file.version.size,
            mtime_ns=file.version.mtime_ns,
            digest=file.digest,
        )
    except (OverflowError, ValueError) as error:  # a time of change that is in no calendar
        raise EventRejected(
            "number_out_of_range", f"the file's time of change is no date: {error}", attribute="time"
        ) from error


def _row(spec: FileSource, file: Landed) -> FileVersion:
    found = file.version
    return FileVersion(spec.name, readable(file.path), found.inode, found.size, found.mtime_ns, file.digest)


def _letter(spec: FileSource, file: Landed, refusal: EventRejected, at: int) -> DeadLetter:
    return DeadLetter(
        id=ids.new_id(),
        at=at,
        stage=STAGE,
        code=refusal.code,
        detail=refusal.detail,
        origin=spec.name,
        coordinates={
            "folder": str(spec.path),
            "path": readable(file.path),
            "inode": file.version.inode,
            "size": file.version.size,
            "mtime_ns": file.version.mtime_ns,
            "digest": file.digest,
        },
        body=os.fsencode(file.path),
    )
