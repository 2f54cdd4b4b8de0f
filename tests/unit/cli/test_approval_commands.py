"""`tidemill approvals`, and what `runs show` says of waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill.clock import SystemClock
from tidemill.runs.records import RunStarted, RunWaiting, TaskWaiting, encode
from tidemill.storage.contract import Asked, NewRun, Recorded, RouteBatch, RunEnd, Wait, WaitChanges
from tidemill.storage.sqlite import open_store

GRAPH = [["ask", [], {"kind": "wait", "rule": "all_success", "decides": True, "wait": "approval"}]]


@pytest.fixture
def asked(project: Path) -> str:
    """An open approval of a run that waits for it."""

    async def ask() -> None:
        store = await open_store(project / ".tidemill" / "tidemill.db", clock=SystemClock())
        run = NewRun(
            run_id="run-1",
            dag="d",
            version="v",
            trigger="manual",
            position=0,
            event_source="/s",
            event_id="1",
            parameters=b"{}",
            queued_at=1,
            correlation_id="c",
            hop_count=0,
        )
        await store.runs.save_version("d", "v", "f.py", "", orjson.dumps(GRAPH))
        await store.runs.route(RouteBatch(expected=0, cursor=0, runs=[run]))
        detail = {"kind": "approval", "approval": "a1", "title": "Publish?", "assignees": ["ann", "bob"]}
        form = b'{"type":"object","required":["price"]}'
        said = Asked("a1", "d", "Publish?", form, ["ann", "bob"], 1, 5)
        wait = Wait("ask", "approval", 0, due_at=2_000_000_000_000_000, asked=said)
        body = encode([RunStarted(), TaskWaiting("ask", 1, 2_000_000_000_000_000, detail), RunWaiting()])
        row = Recorded("run-1", 0, 5, body, RunEnd("waiting", 5), waits=WaitChanges(begun=[wait]))
        await store.runs.record([row])
        await store.close()

    asyncio.run(ask())
    return "a1"


def test_open_approvals_are_listed_and_shown(run: Callable[..., Any], asked: str) -> None:
    listed = run("approvals", "list", "--state", "open")
    shown = json.loads(run("approvals", "show", asked, "--output", "json").output)

    assert "Publish?" in listed.output
    assert shown["form"]["required"] == ["price"]
    assert run("approvals", "list", "--state", "approved", "--output", "json").output.count("a1") == 0


def test_a_run_shows_what_it_waits_for(run: Callable[..., Any], asked: str) -> None:
    shown = run("runs", "show", "run-1", "--output", "json")

    (task,) = json.loads(shown.output)["tasks"]
    assert task["state"] == "waiting"
    assert (task["wait"]["kind"], task["wait"]["approval"], task["wait"]["title"]) == (
        "approval",
        asked,
        "Publish?",
    )
    assert "approval a1 (Publish?)" in " ".join(run("runs", "show", "run-1").output.split())


def test_an_approval_is_approved_with_what_fits_its_form(run: Callable[..., Any], asked: str) -> None:
    wrong = run("approvals", "approve", asked, "--by", "ann", "--data", "{}")
    broken = run("approvals", "approve", asked, "--by", "ann", "--data", "{")
    right = run("approvals", "approve", asked, "--by", "ann", "--data", '{"price": 3}', "--output", "json")
    late = run("approvals", "approve", asked, "--by", "bob", "--data", '{"price": 3}')

    assert (wrong.exit_code, broken.exit_code) == (1, 2)
    assert json.loads(right.output)["state"] == "approved"
    assert late.exit_code == 1


def test_an_approval_is_rejected_with_a_reason(run: Callable[..., Any], asked: str) -> None:
    stranger = run("approvals", "reject", asked, "--by", "eve")
    done = run("approvals", "reject", asked, "--by", "bob", "--reason", "not yet", "--output", "json")

    assert stranger.exit_code == 1
    assert json.loads(done.output)["decisions"][0]["data"] == {"reason": "not yet"}


def test_a_link_is_made_for_who_is_asked(run: Callable[..., Any], asked: str) -> None:
    made = run("approvals", "link", asked, "--by", "ann", "--expires", "60", "--output", "json")

    assert "/callbacks/approvals/" in json.loads(made.output)["url"]
    assert run("approvals", "link", asked, "--by", "eve").exit_code == 1
