"""Tracked files speak of the project and of nothing else: no machine of ours, no tool that wrote them, no registry."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from tests.docs.blocks import ROOT

_BANNED = re.compile(
    r"(?<!\w)/work/|/tmp/brief"
    r"|pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|proxy\.golang\.org|repo1?\.maven\.(?:org|apache\.org)"
    r"|helper agent|sub-?agent|coding agent|\bclaude\b|anthropic|openai|chatgpt|copilot"
    r"|(?:this|previous|another|other|filed by a) session\b",
    re.IGNORECASE,
)
#: This file names what it looks for.
_EXCUSED = {"tests/docs/test_words.py"}


def test_no_file_tells_how_or_where_it_was_made() -> None:
    found = [
        f"{name}:{number}: {match[0]}"
        for name in _files()
        for number, line in enumerate(_lines(name), 1)
        if (match := _BANNED.search(line))
    ]

    assert not found


def test_images_of_pages_bring_their_own_text() -> None:
    picture = (ROOT / "docs" / "images" / "flow.svg").read_text("utf-8")

    assert "<title" in picture
    assert "<desc" in picture
    assert not re.search(r"<script|<image|xlink:href|\bon\w+=", picture)


def _files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no list of tracked files: {error}")
    return [name for name in listed.decode().split("\0") if name and name not in _EXCUSED]


def _lines(name: str) -> list[str]:
    try:
        return (ROOT / name).read_text("utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError, IsADirectoryError):
        return []  # deleted and not committed yet, or binary
