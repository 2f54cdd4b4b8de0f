"""Reading lists of files: what `sha256sum` writes, plain names, or JSON. Pure.

Forms, one for the whole list:
- lines `DIGEST  NAME` or `DIGEST *NAME`, or `SHA256 (NAME) = DIGEST` (BSD), or a digest alone (for one file);
- lines of names alone;
- JSON: `{"files": [{"path": NAME, "sha256": DIGEST, "size": BYTES}, ...]}`, or the list alone, or a list of names.
Empty lines and lines that begin with `#` say nothing. Names are relative to the list's folder and stay in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["MAX_BYTES", "Listed", "ManifestInvalid", "parse_manifest"]

#: Largest list, in bytes.
MAX_BYTES = 8 << 20
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_GNU = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S.*)")
_BSD = re.compile(r"SHA256 \((.+)\) ?= ?([0-9a-fA-F]{64})")


class ManifestInvalid(ValueError):  # noqa: N818 - says what it is, like EventRejected
    """The list cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of a list."""

    #: As written; empty for a digest alone.
    name: str
    #: Lower-case hex SHA-256; None when the list does not say.
    digest: str | None = None
    size: int | None = None


def parse_manifest(content: bytes) -> list[Listed]:
    """Everything that is listed, in order, each name once; raises `ManifestInvalid`."""
    if len(content) > MAX_BYTES:
        raise ManifestInvalid(f"it is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestInvalid("it is not UTF-8") from None
    listed = list(_from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_lines(text))
    if not listed:
        raise ManifestInvalid("it lists nothing")
    for one in listed:
        _check_name(one.name)
    if len({one.name for one in listed}) < len(listed):
        raise ManifestInvalid("it lists a file twice")
    return listed


def _from_lines(text: str) -> Iterator[Listed]:
    for number, line in enumerate(text.splitlines(), 1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        if found := _GNU.fullmatch(written):
            yield Listed(_without_dot(found[2]), found[1].lower())
        elif found := _BSD.fullmatch(written):
            yield Listed(_without_dot(found[1]), found[2].lower())
        elif _DIGEST.fullmatch(written):
            yield Listed("", written.lower())
        elif "\0" in written:
            raise ManifestInvalid(f"line {number} is no name")
        else:
            yield Listed(_without_dot(written))


def _from_json(text: str) -> Iterator[Listed]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ManifestInvalid(f"it is not JSON ({error})") from None
    files = value.get("files") if isinstance(value, dict) else value
    if not isinstance(files, list):
        raise ManifestInvalid("it has no list of files")
    for place, file in enumerate(files, 1):
        yield _from_member(place, {"path": file} if isinstance(file, str) else file)


def _from_member(place: int, file: Any) -> Listed:
    if not isinstance(file, dict):
        raise ManifestInvalid(f"file {place} is neither a name nor an object")
    name, digest, size = file.get("path", file.get("name")), file.get("sha256"), file.get("size")
    if not isinstance(name, str) or not name:
        raise ManifestInvalid(f"file {place} has no path")
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ManifestInvalid(f"file {place}: sha256 is not 64 hexadecimal digits")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ManifestInvalid(f"file {place}: size is no number of bytes")
    return Listed(_without_dot(name), None if digest is None else digest.lower(), size)


def _without_dot(name: str) -> str:
    return name.removeprefix("./")


def _check_name(name: str) -> None:
    if name.startswith("/") or any(part in ("..", ".") for part in name.split("/")) or "\0" in name:
        raise ManifestInvalid(f"{name[:100]!r} leads out of the list's folder")
