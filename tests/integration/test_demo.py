"""The demo ends well, with and without a broker, and says so when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]


def play(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The demo, once."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    return subprocess.run(
        [sys.executable, "-m", "demo", "--once"],
        cwd=ROOT,
        env=own | dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_demo_ends_by_itself_with_every_run_and_completion() -> None:
    ended = play({})

    assert ended.returncode == 0, ended.stdout + ended.stderr
    for dag in ("user_analytics_pipeline", "process_order", "import_csv", "daily_report"):
        assert f"{dag}: succeeded" in ended.stdout
    assert "1 retried" in ended.stdout
    assert "5 signed completions" in ended.stdout


def test_demo_takes_nothing_over_of_the_readers_settings() -> None:
    ended = play({"TIDEMILL_API_TOKEN": "mine", "TIDEMILL_DATABASE": "sqlite:/nowhere/x.db"})

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.kafka
def test_demo_sends_a_record_where_there_is_a_broker(kafka: str) -> None:
    ended = play({"TIDEMILL_KAFKA_BOOTSTRAP_SERVERS": kafka})

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "record_payment: succeeded" in ended.stdout
    assert "7 signed completions" in ended.stdout
