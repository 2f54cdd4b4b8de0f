"""100,000 files in one storm: none missed, none early, none doubled, within a minute."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.integration.folder_scene import Scene
from tests.integration.test_files_storm import SECONDS, survive

from tidemill.clock import SystemClock
from tidemill.storage.sqlite import open_store

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify"),
]


@pytest.mark.timeout(SECONDS * 3)
async def test_hundred_thousand_files_are_announced_each_exactly_once_and_whole(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=SystemClock())
    try:
        await survive(Scene(tmp_path / "inbox", store), 100_000)
    finally:
        await store.close()
