"""The fenced blocks of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "blocks_of", "pages"]

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(?P<words>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (?P<path>(?:workflows|triggers|schemas|tests)/[\w./-]+|tidemill\.toml)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its words (language first), its text, and where it is."""

    page: str
    line: int
    words: tuple[str, ...]
    text: str

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def kind(self) -> str:
        """What stands after the language; empty when nothing does."""
        return " ".join(self.words[1:])

    @property
    def path(self) -> str | None:
        """The file of the page's project that the block is, named by its first line."""
        found = _FILE.match(self.text)
        return None if found is None else found["path"]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of `page`, in order."""
    text = page.read_text("utf-8")
    name = page.relative_to(ROOT).as_posix()
    for found in _FENCE.finditer(text):
        yield Block(
            name, text.count("\n", 0, found.start()) + 1, tuple(found["words"].split()), found["text"]
        )
