"""The scan: what it finds, what it passes over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidemill.sources.files.scanner import Scanner
from tidemill.sources.files.selection import Selection
from tidemill.sources.files.version import Version


def scanner(folder: Path, *, marker: str | None = None, known: frozenset[str] = frozenset()) -> Scanner:
    return Scanner(folder, Selection(["**/*"], marker=marker), is_known=lambda path, _: path in known)


def found(folder: Path, *, marker: str | None = None, known: frozenset[str] = frozenset()) -> list[str]:
    scan = scanner(folder, marker=marker, known=known).scan(limit=1000)
    return sorted(sighting.path for sighting in scan.sightings)


def test_scan_finds_files_at_every_depth_with_their_version(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in ("one", "a/two", "a/b/three"):
        (tmp_path / path).write_text(path)

    scan = scanner(tmp_path).scan(limit=1000)

    assert {sighting.path: sighting.version for sighting in scan.sightings} == {
        path: Version.from_stat((tmp_path / path).stat()) for path in ("one", "a/two", "a/b/three")
    }
    assert not scan.truncated
    assert scan.error == ""


def test_scan_passes_over_known_hidden_linked_and_special_files(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for path in ("new", "known", ".hidden", ".git/config", "x.tmp"):
        (tmp_path / path).write_text("content")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")

    assert found(tmp_path, known=frozenset({"known"})) == ["new"]


def test_scan_with_markers_finds_marked_files_only(tmp_path: Path) -> None:
    for path in ("marked", "marked.ok", "unmarked", "lonely.ok"):
        (tmp_path / path).touch()

    assert found(tmp_path, marker=".ok") == ["marked"]


def test_scan_stops_at_its_limit_and_says_so(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"file-{number}").touch()

    scan = scanner(tmp_path).scan(limit=4)

    assert len(scan.sightings) == 4
    assert scan.truncated


def test_scan_fails_when_the_folder_is_gone_or_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FileNotFoundError):
        scanner(tmp_path / "gone").scan(limit=1)
    with pytest.raises(NotADirectoryError):
        scanner(tmp_path / "file").scan(limit=1)
