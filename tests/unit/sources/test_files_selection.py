"""Which names a file source takes."""

from __future__ import annotations

import pytest

from tidemill.sources.files.selection import Selection


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("a.csv", True),
        ("deep/down/a.csv", True),
        ("a.txt", True),
        ("raw/a.csv", False),
        ("deep/raw/a.csv", True),
        (".hidden.csv", False),
        ("deep/.hidden.csv", False),
        (".git/config", False),
        ("a.csv.tmp", False),
        ("a.csv.TMP", False),
        ("a.part", False),
        ("a.crdownload", False),
        ("a.csv.swp", False),
        ("a.csv.done", True),
        ("caf\udce9.csv", True),
        ("two\nlines.csv", True),
    ],
)
def test_selection_takes_visible_finished_names_that_are_not_excluded(path: str, taken: bool) -> None:
    assert Selection(["**/*"], ["raw/*"]).takes(path) is taken


@pytest.mark.parametrize(
    ("include", "path", "taken"),
    [
        (["*.csv"], "a.csv", True),
        (["*.csv"], "deep/a.csv", False),
        (["**/*.csv"], "a.csv", True),
        (["**/*.csv"], "deep/down/a.csv", True),
        (["**/*.csv"], "a.CSV", False),
        (["*.{csv,json}"], "a.json", True),
        (["in/*", "*.csv"], "in/a", True),
        (["in/*", "*.csv"], "out/a", False),
    ],
)
def test_selection_includes_by_any_glob(include: list[str], path: str, taken: bool) -> None:
    assert Selection(include).takes(path) is taken


def test_selection_with_markers_takes_files_and_not_markers() -> None:
    selection = Selection(["**/*"], marker=".ok")

    assert selection.takes("a.csv")
    assert not selection.takes("a.csv.ok")
    assert selection.marked_by("a.csv.ok") == "a.csv"
    assert selection.marked_by("a.csv") == "a.csv"


def test_selection_without_markers_reads_no_name_as_one() -> None:
    assert Selection(["**/*"]).marked_by("a.csv.done") == "a.csv.done"
