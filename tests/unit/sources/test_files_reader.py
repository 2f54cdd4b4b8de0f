"""Reading candidates: complete or not, digest, and nothing from outside the folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.sources.files import folder, reader, writers
from tidemill.sources.files.reader import Landed, Nothing, Reader, Request, Unreadable, Unsettled
from tidemill.sources.files.version import Announced, Version
from tidemill.storage.contract import FileVersion


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
def files(tmp_path: Path, announced: Announced) -> Reader:
    return Reader(tmp_path, announced, marker=None, ask_writers=True)


def version(path: Path) -> Version:
    return Version.from_stat(path.stat())


def complete(path: str) -> Request:
    return Request(path, None, complete=True)


def test_reader_digests_the_whole_file(
    files: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 7)
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "a.bin"
    path.write_bytes(b"0123456789" * 10)

    findings = files.read([complete("sub/a.bin")])

    digest = hashlib.sha256(b"0123456789" * 10).hexdigest()
    assert findings == [Landed("sub/a.bin", version(path), digest)]


def test_reader_lets_a_file_settle_that_nobody_called_complete(files: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1")
    before = version(path)
    first = files.read([Request("a.csv", None, complete=False)])
    path.write_text("12")

    changed = files.read([Request("a.csv", before, complete=False)])
    settled = files.read([Request("a.csv", version(path), complete=False)])

    assert first == [Unsettled("a.csv", before)]
    assert changed == [Unsettled("a.csv", version(path))]
    assert settled == [Landed("a.csv", version(path), hashlib.sha256(b"12").hexdigest())]


def test_reader_waits_for_a_writer_that_has_the_file_open(files: Reader, tmp_path: Path) -> None:
    with folder.open_root(tmp_path) as root:
        if not writers.knows_writers(root):
            pytest.skip("this file system does not tell its writers")
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write("half")
        file.flush()
        while_open = files.read([complete("a.csv")])
    closed = files.read([complete("a.csv")])

    assert while_open == [Unsettled("a.csv", version(path))]
    assert isinstance(closed[0], Landed)


def test_reader_that_must_not_ask_for_writers_takes_an_open_file(tmp_path: Path) -> None:
    files = Reader(tmp_path, Announced(), marker=None, ask_writers=False)
    with (tmp_path / "a.log").open("w") as file:
        file.write("line")
        file.flush()

        assert isinstance(files.read([complete("a.log")])[0], Landed)


def _append(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def _replace(path: Path) -> None:
    path.with_name("new").write_text("other content")
    path.with_name("new").rename(path)


@pytest.mark.parametrize("change", [_append, _replace], ids=["appended to", "replaced"])
def test_reader_does_not_announce_what_changed_while_it_was_read(
    files: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("content")
    honest = Reader._digest

    def digest(self: Reader, file: int, size: int) -> str | None:
        found = honest(self, file, size)
        change(path)
        return found

    monkeypatch.setattr(Reader, "_digest", digest)

    assert files.read([complete("a.csv")]) == [Unsettled("a.csv", version(path))]


def test_reader_finds_nothing_where_no_regular_file_is(files: Reader, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    requests = [complete(path) for path in ("folder.csv", "pipe.csv", "gone.csv", "no/such/folder.csv")]

    assert files.read(requests) == [Nothing(request.path) for request in requests]


def test_reader_follows_no_link_on_any_part_of_the_path(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "canary").write_text("secret")
    (inside / "file").symlink_to(outside / "canary")
    (inside / "folder").symlink_to(outside)
    files = Reader(inside, Announced(), marker=None, ask_writers=False)
    requests = [
        complete(path)
        for path in ("file", "folder/canary", "../outside/canary", "./../outside/canary", "/etc/passwd")
    ]

    assert files.read(requests) == [Nothing(request.path) for request in requests]


def test_reader_finds_nothing_in_what_was_announced(
    files: Reader, tmp_path: Path, announced: Announced
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("content")
    now = version(path)
    announced.add(FileVersion("inbox", "a.csv", now.inode, now.size, now.mtime_ns))

    assert files.read([complete("a.csv")]) == [Nothing("a.csv")]


def test_reader_asks_for_the_marker(tmp_path: Path) -> None:
    files = Reader(tmp_path, Announced(), marker=".ok", ask_writers=False)
    (tmp_path / "a.csv").write_text("content")
    without = files.read([complete("a.csv")])
    (tmp_path / "a.csv.ok").touch()

    assert without == [Nothing("a.csv")]
    assert isinstance(files.read([complete("a.csv")])[0], Landed)


def test_reader_does_not_open_what_it_cannot_name(files: Reader, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    (tmp_path / name).write_text("content")

    assert files.read([complete(name)]) == [Landed(name, version(tmp_path / name), "")]


def test_reader_says_why_a_file_cannot_be_read(
    files: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("content")

    def broken(*_: object) -> str | None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Reader, "_digest", broken)

    assert files.read([complete("a.csv")]) == [Unreadable("a.csv", "Input/output error")]


def test_reader_hands_back_what_it_has_before_a_big_file(
    files: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CALL_BYTES", 100)
    for name, size in (("small", 60), ("next", 40), ("big", 1), ("last", 1)):
        (tmp_path / name).write_bytes(b"x" * size)

    first = files.read([complete(name) for name in ("small", "next", "big", "last")])
    big_alone = files.read([complete("big"), complete("last")])

    assert [finding.path for finding in first] == ["small", "next"]
    assert [finding.path for finding in big_alone] == ["big", "last"]


def test_reader_that_stops_announces_nothing(files: Reader, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("content")
    files.stop()

    assert isinstance(files.read([complete("a.csv")])[0], Unsettled)


def test_reader_fails_when_the_folder_is_gone(tmp_path: Path) -> None:
    files = Reader(tmp_path / "gone", Announced(), marker=None, ask_writers=False)

    with pytest.raises(FileNotFoundError):
        files.read([complete("a.csv")])


def test_no_descriptor_is_left_open(files: Reader, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.csv").write_text("content")
    (tmp_path / "a" / "link").symlink_to("b")
    before = len(list(Path("/proc/self/fd").iterdir()))

    files.read([complete("a/b/c.csv"), complete("a/link/c.csv"), complete("a/b/gone"), complete("a/b")])

    assert len(list(Path("/proc/self/fd").iterdir())) == before
