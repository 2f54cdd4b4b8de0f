"""Faults fire where and as often as they were told."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tidemill.testing.faults import COMMIT_POINTS, CrashAt, FailCommits, LoseAnswers, parse_kill


def fires(fault: FailCommits, points: list[str]) -> list[bool]:
    found = []
    for point in points:
        try:
            fault(point)
        except sqlite3.OperationalError:
            found.append(True)
        else:
            found.append(False)
    return found


def test_commits_fail_as_often_as_told_and_at_their_point_only() -> None:
    fault = FailCommits("record.before_commit", 2, skip=1)

    points = ["record.before_commit", "route.before_commit", *["record.before_commit"] * 3]
    assert fires(fault, points) == [False, False, True, True, False]
    assert (fault.left, fault.failed) == (0, 2)


def test_answers_are_lost_after_the_commit() -> None:
    assert fires(
        LoseAnswers("route"), ["route.before_commit", "route.after_commit", "route.after_commit"]
    ) == [
        False,
        True,
        False,
    ]


def test_crash_lets_nothing_pass_afterwards() -> None:
    fault = CrashAt("append.after_commit", 2)

    fault("append.after_commit")
    assert not fault.has_crashed
    for point in ("append.after_commit", "route.before_commit"):
        with pytest.raises(CrashAt.Crashed):
            fault(point)
    assert fault.has_crashed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "record",
        "record.before",
        "x.before_commit:1",
        "route.after_commit:0",
        "route.after_commit:x",
        "route.after_commit:",
    ],
)
def test_kill_point_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"commit point|count"):
        parse_kill(text)


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_process_is_killed_at_the_nth_passage(point: str) -> None:
    program = dedent(
        f"""
        from tidemill.testing.faults import parse_kill
        fault = parse_kill("{point}:3")
        for count in range(1, 9):
            print(count, flush=True)
            fault("{point}")
        """
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout.split(), done.returncode) == (["1", "2", "3"], -9)


def test_server_with_a_fault_kills_itself_there(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "flow.py").write_text(
        "from tidemill import dag, task\n@task\nasync def a():\n    return 1\n@dag\ndef flow():\n    return a()\n"
    )
    command = [sys.executable, "-m", "tidemill.testing.serve", "--project", str(tmp_path), "--port", "0"]

    killed = subprocess.run(
        [*command, "--kill-at", "statement.before_commit"], capture_output=True, timeout=60, check=False
    )
    refused = subprocess.run(
        [*command, "--kill-at", "nowhere"], capture_output=True, text=True, timeout=60, check=False
    )

    assert killed.returncode == -9
    assert refused.returncode == 2
    assert "nowhere" in refused.stderr
