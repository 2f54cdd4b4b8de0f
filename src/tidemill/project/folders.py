"""Which files of a project folder are definitions, and their bytes, read with a limit."""

from __future__ import annotations

from pathlib import Path

from tidemill.errors import Problem

__all__ = ["definition_files", "read_definition", "relative_name"]


def definition_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Regular files below `folder` with one of `suffixes`, hidden ones left out, in order of path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def read_definition(path: Path, root: Path, *, max_bytes: int) -> bytes | Problem:
    """The file's bytes, or why it cannot be a definition; at most one byte more than `max_bytes` is read."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Problem(relative_name(path, root), 0, f"the file cannot be read: {reason}")
    if len(content) > max_bytes:
        return Problem(
            relative_name(path, root), 0, f"the file is too large; at most {max_bytes} bytes are read"
        )
    return content


def relative_name(path: Path, root: Path) -> str:
    """`path` as problems name it: relative to the project, with forward slashes."""
    return path.relative_to(root).as_posix()
