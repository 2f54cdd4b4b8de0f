"""When a file counts as complete: renamed, closed, old enough, proven by a checksum or a list."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.integration.folder_scene import Scene, digest, until

from tidemill.clock import SystemClock
from tidemill.sources.files import folder, writers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify")


@pytest.fixture(params=DATABASES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "inbox").mkdir()
    async with opened(request, tmp_path, SystemClock()) as store:
        yield Scene(tmp_path / "inbox", store)


async def test_renamed_files_need_no_quiet_time(scene: Scene) -> None:
    (scene.folder / "early.csv").write_text("was there before")

    async with scene.running(scene.build(complete="rename", quiet=timedelta(hours=1))):
        scene.land("late.csv")

        assert sorted(await scene.subjects(2)) == ["early.csv", "late.csv"]


async def test_rename_waits_for_a_writer_all_the_same(scene: Scene) -> None:
    with folder.open_root(scene.folder) as root:
        if not writers.knows_writers(root):
            pytest.skip("this file system does not tell its writers")
    async with scene.running(scene.build(complete="rename")):
        with (scene.folder / "slow.csv").open("w") as file:
            file.write("half")
            file.flush()
            await scene.passed()
            file.write("whole")
        entries = await scene.logged(2)

    assert [entry.event.subject for entry in entries] == ["last.csv", "slow.csv"]
    assert entries[1].event.data["size"] == 9


async def test_close_write_lets_what_was_renamed_rest(scene: Scene) -> None:
    async with scene.running(scene.build(complete="close_write", quiet=timedelta(hours=1))):
        scene.land("renamed.csv")
        (scene.folder / "closed.csv").write_text("content")

        assert await scene.subjects(1) == ["closed.csv"]


async def test_young_files_wait_until_they_are_old_enough(scene: Scene) -> None:
    old = scene.land("old.csv")
    os.utime(old, (time.time() - 60, time.time() - 60))

    async with scene.running(scene.build(min_age=timedelta(seconds=1))):
        begun = time.time()
        young = scene.land("young.csv")
        entries = await scene.logged(2)
        announced_at = time.time()

    assert [entry.event.subject for entry in entries] == ["old.csv", "young.csv"]
    assert announced_at - young.stat().st_mtime >= 1.0 > 0.5 > begun - young.stat().st_mtime


async def test_time_of_change_in_the_future_does_not_hold_a_file_for_ever(scene: Scene) -> None:
    ahead = scene.land("ahead.csv")
    os.utime(ahead, (time.time() + 86_400, time.time() + 86_400))

    async with scene.running(scene.build(min_age=timedelta(milliseconds=200))):
        assert await scene.subjects(1) == ["ahead.csv"]


@pytest.mark.parametrize("first", ["file", "checksum"])
async def test_checksum_beside_a_file_makes_it_complete_in_any_order(scene: Scene, first: str) -> None:
    async def passed_over() -> None:
        scene.land("other.csv", "other")
        scene.land("other.csv.sha256", digest("other"))
        await scene.logged(1)

    async with scene.running(scene.build(complete="checksum", quiet=timedelta(hours=1))):
        if first == "file":
            scene.land("a.csv", "content")
        else:
            scene.land("a.csv.sha256", f"{digest('content')}  a.csv\n")
        await passed_over()
        if first == "file":
            scene.land("a.csv.sha256", f"{digest('content')} *a.csv\n")
        else:
            scene.land("a.csv", "content")

        assert await scene.subjects(2) == ["other.csv", "a.csv"]


async def test_file_that_grows_is_announced_when_its_checksum_fits(scene: Scene) -> None:
    scene.land("grows.csv.sha256", digest("onetwo"))

    async with scene.running(scene.build(complete="checksum", quiet=timedelta(hours=1))):
        (scene.folder / "grows.csv").write_text("one")
        scene.land("other.csv.sha256", digest("x"))
        scene.land("other.csv", "x")
        await scene.logged(1)
        with (scene.folder / "grows.csv").open("a") as file:
            file.write("two")
        entries = await scene.logged(2)

    assert entries[1].event.data["digest"] == digest("onetwo")


async def test_wrong_checksum_is_a_dead_letter_once_until_something_changes(scene: Scene) -> None:
    scene.land("a.csv", "content")
    scene.land("a.csv.sha256", digest("other content"))

    async with scene.running(scene.build(complete="checksum")):
        (letter,) = await scene.dead_letters(1)
    async with scene.running(scene.build(complete="checksum", scan_seconds=0.05)):
        scene.land("b.csv.sha256", digest("b"))
        scene.land("b.csv", "b")
        await scene.logged(1)
        letters = await scene.dead_letters(1)
        scene.land("a.csv.sha256", digest("content"))  # the file is right, what was said of it was wrong
        subjects = await scene.subjects(2)

    assert (letter.code, letter.body, letter.origin) == ("digest_mismatch", b"a.csv", "inbox")
    assert letter.coordinates["digest"] == digest("content")
    assert digest("other content") in letter.detail
    assert [each.id for each in letters] == [letter.id]
    assert subjects == ["b.csv", "a.csv"]


async def test_checksum_file_that_says_nothing_is_a_dead_letter(scene: Scene) -> None:
    scene.land("a.csv", "content")
    scene.land("a.csv.sha256", "none yet")

    async with scene.running(scene.build(complete="checksum")):
        (letter,) = await scene.dead_letters(1)

    assert letter.code == "invalid_manifest"


async def test_list_of_digests_announces_each_file_that_it_lists(scene: Scene) -> None:
    scene.land("day/a.csv", "a")
    scene.land("day/unlisted.csv", "u")

    async with scene.running(scene.build(complete="manifest", quiet=timedelta(hours=1))) as source:
        scene.land("day/SHA256SUMS", f"# made today\n{digest('a')}  a.csv\n{digest('b')}  ./b.csv\n")
        first = await scene.subjects(1)
        scene.land("day/b.csv", "b")
        second = await scene.subjects(2)
        scene.land("SHA256SUMS", f"SHA256 (day/unlisted.csv) = {digest('u')}\n")  # from a folder above
        third = await scene.subjects(3)
        await until(lambda: source.status().lag == 0)

    assert first == ["day/a.csv"]
    assert second == ["day/a.csv", "day/b.csv"]
    assert third == ["day/a.csv", "day/b.csv", "day/unlisted.csv"]
