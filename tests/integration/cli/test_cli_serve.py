"""`tidemill serve` as a process: it comes up, drains, and says in one sentence why it does not start."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.acceptance

Serve = Callable[..., Any]
Tidemill = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Any]


def test_server_is_ready_soon_and_says_where(project: Path, serve: Serve) -> None:
    begun = time.monotonic()
    server = serve()

    started = server.wait_for_log("service.started")
    answer = httpx.get(f"{started['url']}/health/ready", trust_env=False)

    assert answer.json() == {"status": "ready"}
    assert started["project"] == project.name
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_drains_and_ends_with_zero(project: Path, serve: Serve, number: signal.Signals) -> None:
    server = serve()
    server.wait_for_log("service.started")

    server.signal(number)

    assert server.wait_for_log("service.draining")["signal"] == number.name
    server.wait_for_log("service.stopped")
    assert server.wait()[0] == 0
    assert not (project / ".tidemill" / "server.json").exists()


def test_running_task_ends_before_a_drained_server_does(
    project: Path, serve: Serve, ask: Ask, tidemill: Tidemill
) -> None:
    server = serve()
    server.wait_for_log("service.started")
    run = ask("dags", "trigger", "waiting")
    server.wait_for_log("run.started")

    server.signal(signal.SIGTERM)
    server.wait_for_log("service.draining")
    (project / "state" / "go").touch()

    assert server.wait()[0] == 0
    assert ask("runs", "show", run["id"])["state"] == "succeeded"


def test_second_signal_ends_at_once_and_the_run_goes_on_after_a_start(
    project: Path, serve: Serve, ask: Ask, tidemill: Tidemill
) -> None:
    server = serve()
    server.wait_for_log("service.started")
    run = ask("dags", "trigger", "waiting")
    server.wait_for_log("run.started")
    server.signal(signal.SIGTERM)
    server.wait_for_log("service.draining")

    server.signal(signal.SIGTERM)
    code, _ = server.wait()
    (project / "state" / "go").touch()
    again = serve()
    again.wait_for_log("service.started")
    watched = tidemill("runs", "watch", run["id"])

    assert code == -signal.SIGTERM
    assert watched.returncode == 0


def test_events_accepted_while_no_server_ran_are_routed_by_the_next(serve: Serve, ask: Ask) -> None:
    sent = ask("events", "send", "-t", "number.came", "-d", '{"n": 21}')

    server = serve()
    server.wait_for_log("run.ended")
    (run,) = ask("runs", "list", "--position", str(sent["position"]))["items"]

    assert (run["dag"], run["state"], run["trigger"]) == ("doubling", "succeeded", "numbers")


def test_second_server_of_a_project_is_refused(serve: Serve) -> None:
    serve().wait_for_log("service.started")

    code, said = serve().wait()

    assert code == 2
    assert said == "error: another process works on tidemill.db; stop it first\n"


def test_port_that_is_taken_is_refused(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = serve("--port", str(taken.getsockname()[1])).wait()

    assert code == 2
    assert said.startswith("error: cannot listen on 127.0.0.1:")
    assert said.count("\n") == 1


def test_definitions_with_problems_are_refused_with_all_of_them(project: Path, serve: Serve) -> None:
    (project / "workflows" / "broken.py").write_text("if:\n", "utf-8")
    (project / "triggers" / "wrong.yaml").write_text("triggers:\n  - name: a\n    dag: none\n", "utf-8")

    code, said = serve().wait()

    assert code == 2
    assert "error: workflows/broken.py:1: " in said
    assert "error: triggers/wrong.yaml:" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("--host", "0.0.0.0"), {}, "set api_token"),
        ((), {"TIDEMILL_MAX_HOPS": "none"}, "max_hops"),
        ((), {"TIDEMILL_DATABASE": "mysql:x"}, "database"),
    ],
    ids=["open to all", "no number", "no database"],
)
def test_settings_that_are_wrong_are_refused(
    serve: Serve, arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    code, said = serve(*arguments, environment=environment).wait()

    assert code == 2
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_folder_that_is_not_there_is_refused(tidemill: Tidemill, tmp_path: Path) -> None:
    result = tidemill("serve", "--project", str(tmp_path / "none"))

    assert result.returncode == 2
    assert "does not exist" in result.stderr


def test_note_of_a_killed_server_is_not_believed(project: Path, serve: Serve, ask: Ask) -> None:
    server = serve()
    server.wait_for_log("service.started")
    server.signal(signal.SIGKILL)
    server.wait()

    assert (project / ".tidemill" / "server.json").exists()
    assert ask("runs", "list") == {"items": [], "next": None}
