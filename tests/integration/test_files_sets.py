"""Files that belong together: one event for each version of a set, in any order of arrival, over restarts."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.databases import DATABASES, opened
from tests.integration.folder_scene import Scene, digest, until

from tidemill.clock import SystemClock
from tidemill.project.model import FileSet
from tidemill.storage.sqlite import open_store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify")

THREE = FileSet(parts=("{batch}-{part}.csv",), count=3)
COUNTED = FileSet(parts=("{batch}/{part}-of-{count}.csv",))
PAIR = FileSet(parts=("{name}.csv", "{name}.json"))
MANIFEST = FileSet(manifest="**/*.manifest")
SUCCESS = FileSet(success="_SUCCESS")


@pytest.fixture(params=DATABASES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "inbox").mkdir()
    async with opened(request, tmp_path, SystemClock()) as store:
        yield Scene(tmp_path / "inbox", store)


async def paths(scene: Scene, count: int) -> list[list[str]]:
    """The files of every set that was announced, in order."""
    return [[file["path"] for file in entry.event.data["files"]] for entry in await scene.logged(count)]


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["7-a.csv", "7-b.csv", "7-c.csv"])), ids=" ".join
)
async def test_parts_make_one_event_in_any_order(scene: Scene, order: tuple[str, ...]) -> None:
    async with scene.running(scene.build(file_set=THREE)) as source:
        for name in order[:2]:
            scene.land(name, name)
        await until(lambda: source.status().lag == 2)
        head_before = scene.store.log.head
        scene.land(order[2], order[2])
        (entry,) = await scene.logged(1)

    assert head_before == 0

    assert entry.event.subject == "7"
    assert entry.event.data["keys"] == {"batch": "7"}
    assert entry.event.data["count"] == 3
    assert [(file["path"], file["digest"]) for file in entry.event.data["files"]] == [
        (name, digest(name)) for name in sorted(order)
    ]


async def test_number_of_parts_may_stand_in_the_names(scene: Scene) -> None:
    async with scene.running(scene.build(file_set=COUNTED)):
        for name in ("x/1-of-2.csv", "y/1-of-1.csv", "x/2-of-2.csv"):
            scene.land(name)

        assert sorted(await paths(scene, 2)) == [["x/1-of-2.csv", "x/2-of-2.csv"], ["y/1-of-1.csv"]]


async def test_one_file_for_each_pattern_makes_a_pair(scene: Scene) -> None:
    async with scene.running(scene.build(file_set=PAIR)):
        for name in ("a.csv", "b.json", "lonely.csv", "b.csv", "a.json", "notes.txt"):
            scene.land(name)
        found = await paths(scene, 2)

    assert sorted(found) == [["a.csv", "a.json"], ["b.csv", "b.json"]]


async def test_half_a_set_is_completed_after_a_restart_and_announced_once(scene: Scene) -> None:
    async with scene.running(scene.build(file_set=THREE)) as source:
        scene.land("7-a.csv")
        scene.land("7-b.csv")
        await until(lambda: source.status().lag == 2)
    scene.land("7-c.csv")

    for _ in range(3):
        async with scene.running(scene.build(file_set=THREE)) as source:
            await scene.logged(1)
            await until(lambda: source.status().lag == 0)

    assert await paths(scene, 1) == [["7-a.csv", "7-b.csv", "7-c.csv"]]


async def test_changed_part_makes_another_version_of_the_set(scene: Scene) -> None:
    async with scene.running(scene.build(file_set=THREE)):
        for name in ("7-a.csv", "7-b.csv", "7-c.csv"):
            scene.land(name, "first")
        await scene.logged(1)
    async with scene.running(scene.build(file_set=THREE)):
        scene.land("7-b.csv", "second")
        first, second = await scene.logged(2)

    assert first.event.id != second.event.id
    assert [file["digest"] for file in second.event.data["files"]] == [
        digest("first"),
        digest("second"),
        digest("first"),
    ]


async def test_part_that_went_away_is_waited_for_again(scene: Scene) -> None:
    async with scene.running(scene.build(file_set=THREE)) as source:
        scene.land("7-a.csv")
        gone = scene.land("7-b.csv")
        await until(lambda: source.status().lag == 2)
        gone.unlink()
        scene.land("7-c.csv")
        await until(lambda: source.status().lag == 2)
        head = scene.store.log.head
        scene.land("7-b.csv", "again")
        found = await paths(scene, 1)

    assert head == 0
    assert found == [["7-a.csv", "7-b.csv", "7-c.csv"]]


@pytest.mark.parametrize("form", ["sums", "names", "json"])
@pytest.mark.parametrize("manifest_first", [True, False], ids=["manifest first", "manifest last"])
async def test_manifest_makes_a_set_of_what_it_lists(scene: Scene, form: str, manifest_first: bool) -> None:
    text = {
        "sums": f"{digest('a')}  parts/a.csv\n{digest('b')}  parts/b.csv\n",
        "names": "parts/a.csv\nparts/b.csv\n",
        "json": json.dumps(
            {"files": [{"path": "parts/a.csv", "sha256": digest("a"), "size": 1}, {"path": "parts/b.csv"}]}
        ),
    }[form]
    files = [("parts/a.csv", "a"), ("parts/b.csv", "b"), ("parts/other.csv", "no")]
    order = [("day.manifest", text), *files] if manifest_first else [*files, ("day.manifest", text)]

    async with scene.running(scene.build(file_set=MANIFEST, include=["**/*.csv"])):
        for path, content in order:
            scene.land(path, content)
        (entry,) = await scene.logged(1)

    assert entry.event.subject == "day.manifest"
    assert [file["path"] for file in entry.event.data["files"]] == ["parts/a.csv", "parts/b.csv"]


async def test_file_that_is_not_what_the_manifest_says_is_a_dead_letter_once(scene: Scene) -> None:
    scene.land("day.manifest", f"{digest('a')}  a.csv\n{digest('b')}  b.csv\n")
    scene.land("a.csv", "a")
    scene.land("b.csv", "wrong")

    for _ in range(2):
        async with scene.running(scene.build(file_set=MANIFEST)) as source:
            (letter,) = await scene.dead_letters(1)
            await until(lambda: source.status().lag == 0)
    async with scene.running(scene.build(file_set=MANIFEST)):
        scene.land("b.csv", "b")
        found = await paths(scene, 1)
        letters = await scene.dead_letters(1)

    assert (letter.code, letter.coordinates["wrong"]) == ("digest_mismatch", ["b.csv"])
    assert [each.id for each in letters] == [letter.id]
    assert found == [["a.csv", "b.csv"]]


@pytest.mark.parametrize("text", ["../etc/passwd\n", "/etc/passwd\n", "", "{broken", "a.csv\na.csv\n"])
async def test_manifest_that_cannot_be_read_is_a_dead_letter(scene: Scene, text: str) -> None:
    scene.land("day.manifest", text)

    async with scene.running(scene.build(file_set=MANIFEST)):
        (letter,) = await scene.dead_letters(1)

    assert (letter.code, letter.body) == ("invalid_manifest", b"day.manifest")


@pytest.mark.parametrize("success_first", [True, False], ids=["success first", "success last"])
async def test_success_file_makes_a_set_of_its_folder(scene: Scene, success_first: bool) -> None:
    names = ["out/part-0.csv", "out/deep/part-1.csv"]

    async with scene.running(scene.build(file_set=SUCCESS, include=["**/*.csv"])) as source:
        if success_first:
            scene.land("out/_SUCCESS", "")
            await until(lambda: source.status().lag == 1)
        scene.land("elsewhere/part-9.csv")
        for name in names[: 2 - success_first]:
            scene.land(name)
        if not success_first:
            await until(lambda: source.status().lag == 3)
            assert scene.store.log.head == 0
            scene.land("out/_SUCCESS", "")
        (entry,) = await scene.logged(1)

    assert entry.event.subject == "out/"
    assert [file["path"] for file in entry.event.data["files"]] == sorted(names[: 2 - success_first])


async def test_success_file_speaks_only_once_everything_in_its_folder_has_landed(scene: Scene) -> None:
    for number in range(300):
        scene.land(f"out/part-{number:03d}.csv", str(number))
    scene.land("out/_SUCCESS", "")

    async with scene.running(scene.build(file_set=SUCCESS)):
        await scene.logged(1)
        with (scene.folder / "out" / "late.csv").open("w") as file:  # no part of the first set: made later
            file.write("late")
        first, second = await scene.logged(2)

    assert first.event.data["count"] == 300
    assert second.event.data["count"] == 301


async def test_folders_in_a_folder_may_speak_for_themselves(scene: Scene) -> None:
    async with scene.running(scene.build(file_set=SUCCESS)):
        for name in ("out/inner/a.csv", "out/inner/_SUCCESS", "out/b.csv", "out/_SUCCESS"):
            scene.land(name)

        assert sorted(await paths(scene, 2)) == [["out/b.csv"], ["out/inner/a.csv"]]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_sets_are_announced_exactly_once_whatever_the_order_and_the_restarts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Against a model: batches of parts that arrive in any order, with restarts in between."""
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    names = [f"{batch}/{part}-of-{size}.csv" for batch, size in enumerate(sizes) for part in range(size)]
    order = data.draw(st.permutations(names))
    restarts = data.draw(st.sets(st.integers(0, len(names)), max_size=3))
    store = await open_store(tmp_path_factory.mktemp("state") / "tidemill.db", clock=SystemClock())
    try:
        scene = Scene(tmp_path_factory.mktemp("inbox"), store)
        for begin, end in itertools.pairwise([0, *sorted(restarts), len(order)]):
            async with scene.running(scene.build(file_set=COUNTED, quiet=timedelta(milliseconds=5))):
                for name in order[begin:end]:
                    scene.land(name, name)
        async with scene.running(scene.build(file_set=COUNTED, quiet=timedelta(milliseconds=5))):
            await scene.logged(len(sizes))
            scene.land("last/0-of-1.csv")
            found = await paths(scene, len(sizes) + 1)
    finally:
        await store.close()

    wanted = [[name for name in names if name.startswith(f"{batch}/")] for batch in range(len(sizes))]
    assert sorted(map(sorted, found)) == sorted([*map(sorted, wanted), ["last/0-of-1.csv"]])
