"""`tidemill subscriptions` and `tidemill dlq` on the project's store, without a server."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tidemill.clock import SystemClock
from tidemill.service.database import database_path
from tidemill.settings import Settings
from tidemill.storage.contract import DeadLetter, DeliveryMark, DeliveryState
from tidemill.storage.sqlite import open_store

Ask = Callable[..., Any]
Run = Callable[..., Result]

SUBSCRIPTIONS = """\
subscriptions:
  - name: watchers
    filters: [{prefix: {type: number.}}]
    webhook: {url: "https://receiver.example/hook?token=canary"}
"""
EVENT = {"specversion": "1.0", "id": "e1", "source": "/s", "type": "number.came", "data": {"n": "four"}}


@pytest.fixture
def watched(project: Path) -> Path:
    (project / "triggers" / "watchers.yaml").write_text(SUBSCRIPTIONS, "utf-8")
    return project


def keep(project: Path, *letters: DeadLetter, disabled: bool = False) -> None:
    async def write() -> None:
        store = await open_store(database_path(project, Settings()), clock=SystemClock())
        await store.dead_letters.add(letters)
        if disabled:
            mark = DeliveryMark("watchers", 1, DeliveryState.PENDING, 1)
            await store.outbox.mark([mark], disabled={"watchers": "the receiver answered 410"})
        await store.close()

    asyncio.run(write())


def letter(name: str, body: bytes = json.dumps(EVENT).encode(), **members: Any) -> DeadLetter:
    given = {"at": 1, "stage": "kafka", "code": "invalid_json", "detail": "no", "origin": "topics"}
    return DeadLetter(**{"id": name, "body": body, **given, **members})


def test_subscriptions_are_listed_and_shown(watched: Path, ask: Ask, run: Run) -> None:
    (one,) = ask("subscriptions", "list")["items"]
    shown = ask("subscriptions", "show", "watchers")
    table = run("subscriptions", "list")

    assert (one["name"], one["state"], one["origin"]) == ("watchers", "active", "project")
    assert (shown["pending"], shown["target"]) == (0, "https://receiver.example/hook")
    assert "watchers" in table.stdout
    assert "canary" not in table.stdout
    assert ask("subscriptions", "log", "watchers")["items"] == []


def test_subscription_is_paused_resumed_and_enabled_by_somebody_who_is_named(
    watched: Path, ask: Ask, run: Run
) -> None:
    paused = ask("subscriptions", "pause", "watchers", "--reason", "maintenance")
    resumed = ask("subscriptions", "resume", "watchers")
    keep(watched, disabled=True)
    refused = run("subscriptions", "resume", "watchers")
    enabled = ask("subscriptions", "enable", "watchers")

    assert (paused["state"], paused["reason"], paused["changed_by"]) == (
        "paused",
        "maintenance",
        getpass.getuser(),
    )
    assert (resumed["state"], enabled["state"]) == ("active", "active")
    assert (refused.exit_code, refused.stderr) == (1, "error: the subscription is disabled\n")


def test_subscription_that_is_not_there_is_one_sentence(watched: Path, run: Run) -> None:
    result = run("subscriptions", "show", "nobody")

    assert (result.exit_code, result.stderr) == (1, "error: there is no such subscription\n")


def test_letter_is_edited_redriven_and_shows_who_did_it(project: Path, ask: Ask, run: Run) -> None:
    keep(project, letter("l1"))
    (project / "patch.json").write_text('[{"op": "replace", "path": "/data/n", "value": 4}]', "utf-8")

    edited = ask("dlq", "edit", "l1", "--patch", "patch.json", "--reason", "was text")
    raw = run("dlq", "show", "l1", "--raw")
    redriven = ask("dlq", "redrive", "l1")

    assert json.loads(base64.b64decode(edited["current"]))["data"] == {"n": 4}
    assert json.loads(raw.stdout)["data"] == {"n": 4}
    assert redriven["state"] == "redriven"
    assert [(one["kind"], one["by"]) for one in redriven["actions"]] == [
        ("edited", getpass.getuser()),
        ("redriven", getpass.getuser()),
    ]
    assert ask("events", "show", "1")["event"]["data"] == {"n": 4}


def test_patch_is_read_from_standard_input_and_what_is_wrong_is_told(project: Path, run: Run) -> None:
    keep(project, letter("l1"))

    result = run("dlq", "edit", "l1", "--patch", "-", input='[{"op": "remove", "path": "/id"}]')

    assert result.exit_code == 1
    assert "no event" in result.stderr
    assert "id" in result.stderr


def test_many_letters_are_redriven_and_those_that_fail_are_named(project: Path, run: Run, ask: Ask) -> None:
    keep(project, letter("l1"), letter("l2", body=b"{"), letter("l3", stage="files"))

    result = run("dlq", "redrive", "--stage", "kafka", "--output", "json")

    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert (outcome["done"], [one["id"] for one in outcome["failed"]]) == (1, ["l2"])
    assert [one["id"] for one in ask("dlq", "list", "--state", "open")["items"]] == ["l3", "l2"]
    discarded = ask("dlq", "discard", "--all", "--reason", "test data")
    assert discarded == {"done": 2, "failed": [], "next": None}


@pytest.mark.parametrize(
    "arguments",
    [("redrive",), ("redrive", "l1", "--all"), ("redrive", "l1", "--stage", "kafka"), ("discard", "l1")],
)
def test_command_that_names_nothing_or_too_much_is_refused(
    project: Path, run: Run, arguments: tuple[str, ...]
) -> None:
    keep(project, letter("l1"))

    assert run("dlq", *arguments).exit_code == 2
