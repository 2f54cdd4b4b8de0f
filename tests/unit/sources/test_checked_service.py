"""Schemas hold for sources that pull as well: a landed file that does not follow its schema is a dead letter."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tidemill.service import Service
from tidemill.settings import Settings

SOURCES = """
sources:
  - name: inbox
    files: {path: inbox, complete: quiet, quiet: 20ms}
"""
SCHEMA = {
    "$id": "urn:small-file",
    "properties": {"size": {"maximum": 10}},
    "x-tidemill": {"types": ["dev.tidemill.file.landed.v1"]},
}


async def test_landed_file_that_is_not_as_its_schema_says_is_a_dead_letter_and_others_go_on(
    tmp_path: Path,
) -> None:
    for name in ("triggers", "schemas", "inbox", "workflows"):
        (tmp_path / name).mkdir()
    (tmp_path / "triggers" / "t.yaml").write_text(SOURCES, "utf-8")
    (tmp_path / "schemas" / "s.json").write_text(json.dumps(SCHEMA), "utf-8")
    service = Service(tmp_path, Settings(port=0, drain_seconds=0))
    await service.start()

    (tmp_path / "inbox" / "large.txt").write_text("x" * 11, "utf-8")
    (tmp_path / "inbox" / "small.txt").write_text("x" * 10, "utf-8")
    async with asyncio.timeout(20):
        await service.store.log.wait_for_event(0)
        while not (  # noqa: ASYNC110 - dead letters tell nobody
            letters := await service.store.dead_letters.list(stage="files", before=None, limit=9)
        ):
            await asyncio.sleep(0.02)
    logged = await service.store.log.get(1)
    await service.stop()

    assert logged is not None
    assert logged.event.subject == "small.txt"
    assert [(one.code, one.origin) for one in letters] == [("schema_violation", "inbox")]
    assert json.loads(letters[0].body)["subject"] == "large.txt"
