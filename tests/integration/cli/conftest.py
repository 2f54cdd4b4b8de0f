"""A real server process on a project of its own, and the command line as people start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

TIDEMILL = [sys.executable, "-m", "tidemill"]
WORKFLOWS = """\
import asyncio
from pathlib import Path

from tidemill import Context, DoNotRetry, dag, task

STATE = Path({state!r})

@task
async def first(n: int, context: Context) -> int:
    with (STATE / "calls").open("a") as calls:
        calls.write("first\\n")
    return n

@task
async def second(n: int) -> int:
    if (STATE / "mended").exists():
        return 10 * n
    raise DoNotRetry("not mended yet")

@dag(dag_id="breaking")
def breaking(n: int):
    return second(first(n))

@task
async def wait_for_file() -> str:
    (STATE / "waiting").touch()
    while not (STATE / "go").exists():
        await asyncio.sleep(0.01)
    return "gone"

@dag(dag_id="waiting")
def waiting():
    return wait_for_file()

@task
def double(n: int) -> int:
    return 2 * n

@dag(dag_id="doubling")
def doubling(n: int):
    return double(n)
"""
TRIGGERS = """\
triggers:
  - name: numbers
    dag: doubling
    filters: [{exact: {type: number.came}}]
    parameters: {n: $.data.n}
"""


class Server:
    """`tidemill serve` as a process, its log as JSON lines."""

    def __init__(self, project: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*TIDEMILL, "serve", "--project", str(project), "--port", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment() | {"TIDEMILL_LOG_FORMAT": "json"} | dict(environment or {}),
        )

    def wait_for_log(self, name: str) -> dict[str, Any]:
        """The next log line with this name; fails when the process ends before."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            told: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if told.get("event") == name:
                return told
        pytest.fail(f"the server ended without {name}: {''.join(lines)}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> tuple[int, str]:
        """Its exit code and the rest of what it said, when it has ended."""
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, rest

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.communicate()


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of anybody's service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}


def make_project(root: Path) -> Path:
    """A project with three DAGs; `root/state` is what they look at."""
    for folder in ("workflows", "triggers", "state"):
        (root / folder).mkdir(parents=True)
    text = WORKFLOWS.replace("{state!r}", repr(str(root / "state")))
    (root / "workflows" / "all.py").write_text(text, "utf-8")
    (root / "triggers" / "all.yaml").write_text(TRIGGERS, "utf-8")
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture
def serve(project: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers on the project; they are ended afterwards."""
    started: list[Server] = []

    def serve(*arguments: str, environment: Mapping[str, str] | None = None) -> Server:
        started.append(Server(project, *arguments, environment=environment))
        return started[-1]

    yield serve
    for server in started:
        server.stop()


@pytest.fixture
def tidemill(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in the project folder."""

    def tidemill(
        *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TIDEMILL, *arguments],
            cwd=project,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=clean_environment() | dict(environment or {}),
        )

    return tidemill


@pytest.fixture
def ask(tidemill: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    """The JSON answer of a command that succeeds."""

    def ask(*arguments: str, **options: Any) -> Any:
        result = tidemill(*arguments, "--output", "json", **options)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return ask
