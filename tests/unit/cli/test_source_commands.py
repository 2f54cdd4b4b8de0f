"""`tidemill sources`, while no server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SOURCES = """\
sources:
  - name: beat
    schedule: {every: 1m}
  - name: inbox
    files: {path: inbox}
"""


def states(ask: Any) -> dict[str, str]:
    return {item["name"]: item["state"] for item in ask("sources", "list")["items"]}


def test_pause_is_durable_and_resume_ends_it(project: Path, ask: Any) -> None:
    (project / "triggers" / "sources.yaml").write_text(SOURCES)

    paused = ask("sources", "pause", "beat")
    while_paused = states(ask)
    shown = ask("sources", "show", "beat")
    resumed = ask("sources", "resume", "beat")

    assert (paused["name"], paused["kind"], paused["state"]) == ("beat", "schedule", "paused")
    assert while_paused == {"http": "stopped", "beat": "paused", "inbox": "stopped"}
    assert shown["paused_at"] == paused["paused_at"]
    assert resumed["state"] == "stopped"
    assert states(ask)["beat"] == "stopped"


def test_pausing_what_is_not_there_fails(project: Path, run: Any) -> None:
    result = run("sources", "pause", "nothing")

    assert result.exit_code == 1
    assert "there is no such source" in result.stderr
