"""Builds watched folders: what is written of a `files` source, and what in it does not fit together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tidemill.events import lifecycle
from tidemill.project.entry import Entry, pointer_to
from tidemill.project.locations import leads_out, locate
from tidemill.project.model import Archive, FileSet, FileSource
from tidemill.project.name_pattern import NamePattern, NamePatternError
from tidemill.project.structure import check_choice
from tidemill.project.trigger_file import FileSetForm, FilesForm

__all__ = ["build_files", "check_files"]


def check_files(entry: Entry) -> None:
    """Note everything about the entry's `files` that its structure does not say."""
    for keys, what in ((("path",), "folder"), (("archive", "to"), "archive")):
        written = entry.get("files", *keys)
        if isinstance(written, str) and leads_out(written):
            entry.problem(
                pointer_to("files", *keys),
                f"the {what} leads out of the project; write it absolute if that is meant",
            )
    written_set = entry.get("files", "set")
    if isinstance(written_set, dict):
        check_choice(
            Entry(entry.file, entry.text, entry.pointer + "/files/set", written_set, entry.problems),
            "parts",
            "manifest",
            "success",
        )
        _check_parts(entry)
        if entry.get("files", "complete") in ("checksum", "manifest"):
            entry.problem(
                "/files/complete",
                "a set has a manifest of its own; checksum and manifest are for single files",
            )


def build_files(entry: Entry, form: FilesForm, root: Path) -> FileSource | None:
    """The entry's source; None when its archive does not fit its folder, with the problem noted."""
    path = locate(root, form.path)
    archive = None
    if form.archive is not None:
        archive = Archive(folder=locate(root, form.archive.to), when=form.archive.when)
        if path.is_relative_to(archive.folder):
            entry.problem("/files/archive/to", "the archive holds the watched folder; choose another")
            return None
    own = lifecycle.Type.FILE_LANDED if form.set is None else lifecycle.Type.FILE_SET_LANDED
    return FileSource(
        name=entry.name,
        path=path,
        include=tuple(form.include),
        exclude=tuple(form.exclude),
        complete=form.complete,
        quiet=form.quiet,
        marker=form.marker,
        checksum=form.checksum,
        manifest=form.manifest,
        min_age=form.min_age or timedelta(0),
        file_set=None if form.set is None else _file_set(form.set),
        archive=archive,
        watch=form.watch,
        poll=form.poll,
        event_type=form.type or own.value,
        event_source=form.source or f"/tidemill/files/{entry.name}",
        file=entry.file,
        line=entry.line,
    )


def _file_set(form: FileSetForm) -> FileSet:
    return FileSet(
        parts=tuple(form.parts or ()), count=form.count, manifest=form.manifest, success=form.success
    )


def _check_parts(entry: Entry) -> None:
    patterns: list[NamePattern] = []
    for at, written in entry.items("files", "set", "parts"):
        if not isinstance(written, str):
            continue
        try:
            patterns.append(NamePattern(written))
        except NamePatternError as error:
            entry.problem(at, str(error))
    count = entry.get("files", "set", "count")
    if entry.get("files", "set", "parts") is None:
        if count is not None:
            entry.problem("/files/set/count", "count goes with parts")
        return
    if len({frozenset(pattern.key_names) for pattern in patterns}) > 1:
        entry.problem(
            "/files/set/parts", "all patterns must have the same names in braces, but for part and count"
        )
    has_count = [pattern.has_count for pattern in patterns]
    if any(has_count) and count is not None:
        entry.problem("/files/set/count", "count stands in the names already ({count})")
    if len(patterns) == 1 and not any(has_count) and count is None:
        entry.problem("/files/set", "how many files make the set? give count, or {count} in the pattern")
    if isinstance(count, int) and patterns and count < len(patterns):
        entry.problem("/files/set/count", "count is less than one file for each pattern")
