"""One project, served by a service of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.why.trigger_scene import TRIGGERS, WORKFLOW, Scene, served, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root, "workflows/take.py", WORKFLOW)
    write(root, "triggers/t.yaml", TRIGGERS)
    return root


@pytest.fixture
async def scene(root: Path) -> AsyncIterator[Scene]:
    async with served(root) as scene:
        yield scene
