"""`plan` and `replay` without a server: on the project's own store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.cli.conftest import TRIGGERS
from typer.testing import Result

from tidemill.service import Service
from tidemill.settings import load

Ask = Callable[..., Any]
Run = Callable[..., Result]


async def serve_until_done(project: Path) -> None:
    service = Service(project, load(project, port=0))
    await service.start()
    try:
        while True:
            counts = await service.store.runs.counts()
            if counts.get(("doubling", "succeeded")) == 2:
                break
            await asyncio.sleep(0.01)
    finally:
        await service.stop()


def prepare(project: Path, ask: Ask) -> None:
    for number in (1, 2):
        ask("events", "send", "-t", "number.came", "-d", json.dumps({"n": number}))
    asyncio.run(serve_until_done(project))


def test_plan_of_unchanged_folders_finds_nothing(project: Path, ask: Ask, run: Run) -> None:
    prepare(project, ask)

    result = run("plan")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("events: 0 added, 0 removed, 0 changed\n")


def test_plan_says_what_an_edit_would_change_and_ends_with_3(project: Path, ask: Ask, run: Run) -> None:
    prepare(project, ask)
    edited = TRIGGERS.replace("$.data.n}", '$.data.n, label: "x"}')
    (project / "triggers" / "numbers.yaml").write_text(edited, "utf-8")

    result = run("plan", "--output", "json")

    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert (told["added"], told["removed"], told["changed"]) == (0, 0, 2)
    assert told["changes"][0]["after"] == {"dag": "doubling", "parameters": {"n": 1, "label": "x"}}


def test_plan_needs_an_archive_to_read_one(project: Path, run: Run) -> None:
    result = run("plan", "--against-archive")

    assert result.exit_code == 2
    assert "there is no archive (archive_url)" in result.stderr


def test_replay_is_kept_and_carried_out_by_the_next_server(project: Path, ask: Ask, run: Run) -> None:
    prepare(project, ask)

    asked = ask("events", "replay", "--trigger", "numbers", "--until", "1")
    (listed,) = ask("events", "replays")["items"]

    assert asked == listed
    assert (listed["state"], listed["until"], listed["told"]) == ("running", 1, 0)


def test_replay_for_an_unknown_trigger_is_refused(project: Path, run: Run) -> None:
    result = run("events", "replay", "--trigger", "nobody")

    assert result.exit_code == 1
    assert "there is no trigger 'nobody'" in result.stderr


def test_replay_is_stopped(project: Path, ask: Ask) -> None:
    ask("events", "send", "-t", "number.came", "-d", '{"n": 1}')
    asked = ask("events", "replay")

    stopped = ask("events", "cancel-replay", asked["id"])

    assert stopped["state"] == "cancelled"
