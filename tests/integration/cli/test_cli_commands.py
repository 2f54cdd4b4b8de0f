"""Commands against a server that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

Serve = Callable[..., Any]
Tidemill = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Any]


@pytest.fixture
def server(serve: Serve) -> Iterator[Any]:
    started = serve()
    started.url = started.wait_for_log("service.started")["url"]
    return started


def test_sent_event_becomes_a_run_that_is_listed_and_shown(server: Any, ask: Ask, tidemill: Tidemill) -> None:
    sent = ask("events", "send", "-t", "number.came", "-s", "/n", "-d", '{"n": 21}')
    server.wait_for_log("run.ended")

    (run,) = ask("runs", "list", "--dag", "doubling", "--state", "succeeded")["items"]
    shown = ask("runs", "show", run["id"])
    event = ask("events", "show", str(sent["position"]))

    assert run["event"] == {"source": "/n", "id": sent["id"], "position": sent["position"]}
    assert [(task["id"], task["state"], task["result"]) for task in shown["tasks"]] == [
        ("double", "succeeded", 42)
    ]
    assert {name: shown[name] for name in run} == run
    assert event["dispositions"][0]["run"] == run["id"]
    assert "succeeded" in tidemill("runs", "list").stdout
    assert "double" in tidemill("runs", "show", run["id"]).stdout


def test_trigger_waits_for_the_end(server: Any, ask: Ask, tidemill: Tidemill) -> None:
    good = ask("dags", "trigger", "doubling", "-p", "n=4", "--wait")
    bad = tidemill("dags", "trigger", "breaking", "-p", "n=4", "--wait", "-o", "json")

    assert good["state"] == "succeeded"
    assert good["tasks"][0]["result"] == 8
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["state"] == "failed"


def test_watch_tells_changes_until_the_end(server: Any, project: Path, ask: Ask) -> None:
    run = ask("dags", "trigger", "waiting")
    server.wait_for_log("run.started")
    watching = subprocess.Popen(
        [sys.executable, "-m", "tidemill", "runs", "watch", run["id"], "-o", "json", "--url", server.url],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None

    before = [json.loads(watching.stdout.readline()) for _ in range(2)]
    (project / "state" / "go").touch()
    after = [json.loads(line) for line in watching.stdout]
    watching.stdout.close()

    assert watching.wait(30) == 0
    assert {(change["task"], change["state"]) for change in before} == {
        (None, "running"),
        ("wait_for_file", "running"),
    }
    assert [(change["task"], change["state"]) for change in after] == [
        ("wait_for_file", "succeeded"),
        (None, "succeeded"),
    ]
    assert all(change["run"] == run["id"] and change["at"] for change in after)


def test_watch_of_a_run_that_failed_ends_with_one(server: Any, ask: Ask, tidemill: Tidemill) -> None:
    run = ask("dags", "trigger", "breaking", "-p", "n=1")

    watched = tidemill("runs", "watch", run["id"])

    assert watched.returncode == 1
    last = watched.stdout.splitlines()[-1].split()
    assert last[-2:] == ["breaking", "failed"]


def test_watch_of_everything_tells_each_run_as_it_ends(server: Any, ask: Ask) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "tidemill", "runs", "watch", "-o", "json", "--url", server.url],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    wait_for_stream_client(ask, server.url)

    run = ask("dags", "trigger", "doubling", "-p", "n=1", "--wait")
    told = json.loads(watching.stdout.readline())
    watching.terminate()
    watching.stdout.close()
    watching.wait(30)

    assert told == run


def test_cancel_ends_a_run_that_goes_on(server: Any, ask: Ask, tidemill: Tidemill) -> None:
    run = ask("dags", "trigger", "waiting")
    server.wait_for_log("run.started")

    ask("runs", "cancel", run["id"])
    ended = server.wait_for_log("run.ended")
    again = tidemill("runs", "cancel", run["id"])

    assert (ended["run_id"], ended["state"]) == (run["id"], "cancelled")
    assert again.returncode == 1
    assert "has ended" in again.stderr


def test_retry_is_a_new_run_that_takes_over_what_was_done(
    server: Any, project: Path, ask: Ask, tidemill: Tidemill
) -> None:
    failed = json.loads(tidemill("dags", "trigger", "breaking", "-p", "n=4", "--wait", "-o", "json").stdout)
    (project / "state" / "mended").touch()

    retried = ask("runs", "retry", failed["id"])
    watched = tidemill("runs", "watch", retried["id"])
    done = ask("runs", "show", retried["id"])
    again = tidemill("runs", "retry", retried["id"])

    assert retried["id"] != failed["id"]
    assert (retried["trigger"], retried["parameters"]) == ("retry", {"n": 4})
    assert watched.returncode == 0
    assert {task["id"]: task["result"] for task in done["tasks"]} == {"first": 4, "second": 40}
    assert (project / "state" / "calls").read_text("utf-8") == "first\n"
    assert again.returncode == 1
    assert "only a failed or cancelled run" in again.stderr


def test_retry_asked_for_without_a_server_runs_when_one_starts(
    serve: Serve, project: Path, ask: Ask, tidemill: Tidemill
) -> None:
    first = serve()
    first.wait_for_log("service.started")
    tidemill("dags", "trigger", "breaking", "-p", "n=4", "--wait")
    (failed,) = ask("runs", "list")["items"]
    first.stop()
    (project / "state" / "mended").touch()

    asked = ask("runs", "retry", failed["id"])
    serve().wait_for_log("run.ended")
    run = ask("runs", "show", asked["id"])

    assert asked["state"] == "queued"
    assert (run["state"], run["trigger"]) == ("succeeded", "retry")
    assert (project / "state" / "calls").read_text("utf-8") == "first\n"


def test_cancel_asked_for_without_a_server_is_carried_out_when_one_starts(
    serve: Serve, ask: Ask, project: Path
) -> None:
    first = serve(environment={"TIDEMILL_DRAIN_SECONDS": "0"})
    first.wait_for_log("service.started")
    run = ask("dags", "trigger", "waiting")
    first.wait_for_log("run.started")
    first.stop()

    ask("runs", "cancel", run["id"])
    ended = serve().wait_for_log("run.ended")

    assert (ended["run_id"], ended["state"]) == (run["id"], "cancelled")


def test_sources_are_live(server: Any, ask: Ask) -> None:
    (source,) = ask("sources", "list")["items"]

    assert (source["name"], source["state"]) == ("http", "live")


def test_dead_letter_is_listed_and_shown(server: Any, ask: Ask, tidemill: Tidemill) -> None:
    ask("events", "send", "-t", "number.came", "-d", '{"n": "many"}')
    server.wait_for_log("router.dead_lettered")

    (letter,) = ask("dlq", "list", "--stage", "routing")["items"]
    shown = ask("dlq", "show", letter["id"])

    assert letter["code"] == "invalid_parameters"
    assert {name: shown[name] for name in letter} == letter
    assert shown["body"]
    assert "invalid_parameters" in tidemill("dlq", "list").stdout


def test_token_is_asked_for_and_taken_from_the_settings(serve: Serve, ask: Ask, tidemill: Tidemill) -> None:
    environment = {"TIDEMILL_API_TOKEN": "correct-horse"}
    url = serve(environment=environment).wait_for_log("service.started")["url"]

    refused = tidemill("runs", "list")
    wrong = tidemill("runs", "list", "--url", url, "--token", "wrong")

    assert (refused.returncode, refused.stderr) == (1, "error: a bearer token is needed\n")
    assert (wrong.returncode, wrong.stderr) == (1, "error: the bearer token is not valid\n")
    assert ask("runs", "list", environment=environment)["items"] == []
    assert ask("runs", "list", "--url", url, "--token", "correct-horse")["items"] == []


def test_commands_at_once_wait_for_each_other_where_no_server_runs(project: Path, ask: Ask) -> None:
    command = [sys.executable, "-m", "tidemill", "events", "send", "--project", str(project), "-t", "t"]

    sending = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
    ended = [(one.communicate(timeout=60)[1], one.returncode) for one in sending]

    assert [code for _, code in ended] == [0, 0, 0], ended
    assert len(ask("events", "list")["items"]) == 3


def test_match_answers_before_the_next_question() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tidemill", "match"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None

    for n in (1, 2):
        question = {"pattern": {"data": {"n": [1]}}, "event": {"data": {"n": n}}}
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"match": n == 1}
    process.stdin.close()
    process.stdout.close()

    assert process.wait(30) == 0


def test_help_loads_nothing_that_takes_time() -> None:
    heavy = ["fastapi", "httpx", "pydantic", "pydantic_settings", "rich", "uvicorn", "aiokafka", "structlog"]
    program = f"import sys, tidemill.cli.app; print([name for name in {heavy} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout == "[]\n"


def test_new_project_passes_its_own_test(tidemill: Tidemill, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    tidemill("init", str(folder))

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert tested.returncode == 0, tested.stdout
    assert "5 passed" in tested.stdout


def wait_for_stream_client(ask: Ask, url: str) -> None:
    """Return when somebody follows the stream."""
    import httpx

    deadline = time.monotonic() + 30
    while "tidemill_stream_clients 1.0" not in httpx.get(f"{url}/metrics", trust_env=False).text:
        assert time.monotonic() < deadline
