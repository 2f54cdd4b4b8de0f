"""Runs that are made again, and runs that kill their process, on a real server and from the command line."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

Serve = Callable[..., Any]
Ask = Callable[..., Any]
Tidemill = Callable[..., Any]

KILLER = """\
import os
import signal
from pathlib import Path

from tidemill import dag, task

STATE = Path({state!r})

@task
def before() -> str:
    with (STATE / "before").open("a") as calls:
        calls.write("x")
    return "before"

@task
def kill(value: str) -> str:
    if not (STATE / "mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return value

@dag(dag_id="killer")
def killer():
    return kill(before())
"""


def test_run_that_kills_its_process_is_quarantined_found_and_run_again(
    serve: Serve, project: Path, ask: Ask, tidemill: Tidemill
) -> None:
    text = KILLER.replace("{state!r}", repr(str(project / "state")))
    (project / "workflows" / "killer.py").write_text(text, "utf-8")
    run = ask("dags", "trigger", "killer")

    for _ in range(2):
        server = serve(environment={"TIDEMILL_MAX_RECOVERIES": "1"})
        code, _ = server.wait()
        assert code == -signal.SIGKILL
    server = serve(environment={"TIDEMILL_MAX_RECOVERIES": "1"})
    ended = server.wait_for_log("run.ended")
    found = ask("runs", "list", "--quarantined")["items"]
    shown = ask("runs", "show", run["id"])
    table = tidemill("runs", "show", run["id"]).stdout
    (project / "state" / "mended").touch()
    again = ask("runs", "rerun", run["id"], "--failed")
    released = server.wait_for_log("run.ended")

    assert (ended["run_id"], ended["state"]) == (run["id"], "failed")
    assert [one["id"] for one in found] == [run["id"]]
    assert shown["reason"].startswith("quarantined: the process died 2 times")
    assert {task["id"]: task["state"] for task in shown["tasks"]} == {"before": "succeeded", "kill": "failed"}
    assert "Quarantined" in table
    assert (released["run_id"], released["state"]) == (again["id"], "succeeded")
    assert ask("runs", "list", "--quarantined")["items"] == []
    assert (project / "state" / "before").read_text("utf-8") == "x"


def test_run_is_made_again_with_an_edited_result_and_says_so(
    serve: Serve, project: Path, ask: Ask, tidemill: Tidemill
) -> None:
    server = serve()
    server.wait_for_log("service.started")
    (project / "state" / "mended").touch()
    tidemill("dags", "trigger", "breaking", "-p", "n=4", "--wait")
    (first,) = ask("runs", "list")["items"]

    edited = ask("runs", "rerun", first["id"], "--edit", "first=7")
    tidemill("runs", "watch", edited["id"])
    done = ask("runs", "show", edited["id"])
    table = tidemill("runs", "show", edited["id"]).stdout
    changed = ask("runs", "rerun", first["id"], "--set", "n=5", "--request-id", "one")
    same = ask("runs", "rerun", first["id"], "--set", "n=5", "--request-id", "one")
    tidemill("runs", "watch", changed["id"])

    tasks = {task["id"]: task for task in done["tasks"]}
    assert (tasks["first"]["result"], tasks["second"]["result"]) == (7, 70)
    assert tasks["first"]["reused"]["how"] == "edited"
    assert f"edited by {tasks['first']['reused']['by']} from {first['id']}" in table
    assert f"{first['id']} (edited first), asked by" in table
    assert changed["id"] == same["id"]
    results = {task["id"]: task["result"] for task in ask("runs", "show", changed["id"])["tasks"]}
    assert results == {"first": 5, "second": 50}


def test_rerun_that_does_not_fit_is_told_with_every_place(
    serve: Serve, project: Path, ask: Ask, tidemill: Tidemill
) -> None:
    serve().wait_for_log("service.started")
    tidemill("dags", "trigger", "doubling", "-p", "n=4", "--wait")
    (run,) = ask("runs", "list")["items"]

    unknown = tidemill("runs", "rerun", run["id"], "--from", "gone", "--set", "n=4")
    typo = tidemill("runs", "rerun", run["id"], "--edit", "double")
    text = tidemill("runs", "rerun", run["id"], "--edit", "double=seven")

    assert (unknown.returncode, typo.returncode, text.returncode) == (1, 2, 2)
    assert "from.gone: the dag has no such task in this version" in unknown.stderr
    assert "is not NAME=JSON" in typo.stderr
    assert "the value is not JSON" in text.stderr


def test_cache_is_listed_and_cleared_from_the_command_line(
    serve: Serve, project: Path, ask: Ask, tidemill: Tidemill
) -> None:
    path = project / "workflows" / "all.py"
    path.write_text(
        path.read_text("utf-8").replace("@task\ndef double", "@task(cache=True)\ndef double"), "utf-8"
    )
    serve().wait_for_log("service.started")
    first = json.loads(tidemill("dags", "trigger", "doubling", "-p", "n=4", "--wait", "-o", "json").stdout)
    second = json.loads(tidemill("dags", "trigger", "doubling", "-p", "n=4", "--wait", "-o", "json").stdout)

    listed = ask("cache", "list", "--dag", "doubling")["items"]
    shown = ask("runs", "show", second["id"])
    unsaid = tidemill("cache", "clear")
    cleared = ask("cache", "clear", "--task", "double")

    assert [(one["task"], one["run"]) for one in listed] == [("double", first["id"])]
    assert shown["tasks"][0]["reused"] == {"how": "cached", "run": first["id"], "by": None}
    assert unsaid.returncode == 2
    assert "--all" in unsaid.stderr
    assert cleared == {"cleared": 1}
    assert ask("cache", "list")["items"] == []
