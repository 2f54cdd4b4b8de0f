"""What a source's options mean for its parts: which files count, and what makes one complete."""

from __future__ import annotations

from tidemill.clock import Clock
from tidemill.project.model import FileSource
from tidemill.sources.files.proofs import Proofs
from tidemill.sources.files.reader import Reader
from tidemill.sources.files.selection import Selection
from tidemill.sources.files.sets import Gathering
from tidemill.sources.files.version import Announced
from tidemill.sources.files.watch import Hint

__all__ = ["is_complete", "reader_of", "selection_of", "spoken_of"]


def selection_of(spec: FileSource, gathering: Gathering | None) -> Selection:
    """Which files count by their names."""
    return Selection(
        spec.include,
        spec.exclude,
        marker=spec.marker if spec.complete == "marker" else None,
        proofs=lambda path: _is_proof(spec, path),
        speaks=(lambda _path: False) if gathering is None else gathering.speaks,
        belongs=(lambda _path: True) if gathering is None else gathering.takes,
        archive=_archive_prefix(spec),
    )


def reader_of(spec: FileSource, announced: Announced, gathering: Gathering | None, *, clock: Clock) -> Reader:
    """What decides that a file is complete, and reads it."""
    proofs = None
    if spec.complete == "checksum":
        proofs = Proofs(suffix=spec.checksum)
    elif spec.complete == "manifest":
        proofs = Proofs(listing=spec.manifest)
    return Reader(
        spec.path,
        announced,
        marker=spec.marker if spec.complete == "marker" else None,
        ask_writers=spec.complete in ("close", "close_write", "rename", "checksum", "manifest"),
        proofs=proofs,
        min_age=spec.min_age.total_seconds(),
        now_us=clock.now_us,
        keeps=(lambda _path: False) if gathering is None else gathering.reads,
    )


def spoken_of(spec: FileSource, path: str) -> str | None:
    """The file that a change of `path` speaks of; None when it speaks of many, for which a scan must look."""
    match spec.complete:
        case "checksum":
            return path.removesuffix(spec.checksum)
        case "manifest" if _is_proof(spec, path):
            return None
        case _:
            return path


def is_complete(spec: FileSource, hint: Hint) -> bool:
    """Whether the hint says that the file need not rest."""
    match spec.complete:
        case "close" | "checksum" | "manifest":
            return hint.complete
        case "close_write":
            return hint.complete and not hint.moved
        case "marker" | "rename":
            return True
        case "quiet":
            return False


def _is_proof(spec: FileSource, path: str) -> bool:
    if spec.complete == "checksum":
        return path.endswith(spec.checksum)
    return spec.complete == "manifest" and path.rpartition("/")[2] == spec.manifest


def _archive_prefix(spec: FileSource) -> str | None:
    if spec.archive is None or not spec.archive.folder.is_relative_to(spec.path):
        return None
    return f"{spec.archive.folder.relative_to(spec.path)}/"
