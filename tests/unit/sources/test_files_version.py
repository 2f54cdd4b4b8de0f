"""The memory of announced versions."""

from __future__ import annotations

import os
import tracemalloc

from tidemill.sources.files.version import Announced, Version, is_text, readable
from tidemill.storage.contract import FileVersion

#: What the documentation of `Announced` promises, with room for the set's growth steps.
MAX_BYTES_PER_VERSION = 130


def test_announced_knows_a_version_by_all_of_its_parts() -> None:
    announced = Announced()
    announced.add(FileVersion("inbox", "a.csv", 1, 2, 3, "digest"))

    assert announced.has("a.csv", Version(1, 2, 3))
    assert not announced.has("b.csv", Version(1, 2, 3))
    assert not announced.has("a.csv", Version(9, 2, 3))
    assert not announced.has("a.csv", Version(1, 9, 3))
    assert not announced.has("a.csv", Version(1, 2, 9))


def test_announced_knows_names_that_are_not_text_by_their_readable_form() -> None:
    path = os.fsdecode(b"caf\xe9.csv")
    announced = Announced()
    announced.add(FileVersion("inbox", readable(path), 1, 2, 3))

    assert not is_text(path)
    assert readable(path) == "caf\\xe9.csv"
    assert announced.has(path, Version(1, 2, 3))


def test_announced_takes_little_memory_per_version() -> None:
    count = 50_000
    tracemalloc.start()
    announced = Announced()

    for number in range(count):
        announced.add(FileVersion("inbox", f"2026/11/some-long-file-name-{number}.csv", number, 1, 1))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(announced) == count
    assert taken / count < MAX_BYTES_PER_VERSION
