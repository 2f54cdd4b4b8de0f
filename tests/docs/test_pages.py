"""Every page does what it says: its files are loaded, its commands run in order, its outputs are what comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.blocks import ROOT, blocks_of, pages
from tests.docs.reader import Reader

from tidemill import settings
from tidemill.project.load import load

#: Held by a test of its own (`tests/unit/patterns/test_page.py`).
_ELSEWHERE = {"docs/patterns.md"}
_NAMES = [name for page in pages() if (name := page.relative_to(ROOT).as_posix()) not in _ELSEWHERE]
_WITH_FILES = [name for name in _NAMES if any(block.path for block in blocks_of(ROOT / name))]


@pytest.mark.acceptance
@pytest.mark.parametrize("name", [name for name in _NAMES if list(blocks_of(ROOT / name))])
def test_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    blocks = list(blocks_of(ROOT / name))
    reader = Reader(tmp_path)
    reader.write(blocks)

    try:
        for block in blocks:
            reader.do(block)
    finally:
        reader.close()


@pytest.mark.parametrize("name", _WITH_FILES)
def test_files_of_page_are_a_valid_project(name: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.write(blocks_of(ROOT / name))

    project = load(reader.project)

    written = {
        path.parts[0] for path in map(Path, filter(None, (one.path for one in blocks_of(ROOT / name))))
    }
    assert bool(project.dags) is ("workflows" in written)
    assert settings.load(reader.project)


def test_every_yaml_and_toml_block_is_a_file() -> None:
    loose = [
        str(block)
        for page in pages()
        for block in blocks_of(page)
        if block.language in ("yaml", "toml") and block.path is None
    ]

    assert not loose


def test_quick_start_and_each_how_to_are_run() -> None:
    silent = [
        name
        for name in _NAMES
        if (name.startswith("docs/how-to/") or name == "README.md")
        and not any(block.language in ("sh", "yaml") for block in blocks_of(ROOT / name))
    ]

    assert not silent
