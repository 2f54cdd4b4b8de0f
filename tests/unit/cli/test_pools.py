"""`tidemill pools` and `tidemill runs mark`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def pooled(project: Path) -> Path:
    (project / "tidemill.toml").write_text(
        "[pools]\ncrm = 2\netl = {slots = 4, weight = 2.0}\n[resources]\ncpu = 3\n"
    )
    return project


def test_pools_are_listed_with_the_default_pool_first(pooled: Path, ask: Callable[..., Any]) -> None:
    found = ask("pools", "list")["items"]

    assert [(one["name"], one["slots"], one["weight"]) for one in found] == [
        ("default", None, 1.0),
        ("crm", 2, 1.0),
        ("etl", 4, 2.0),
    ]


def test_slots_that_were_set_hold_until_they_are_reset(pooled: Path, ask: Callable[..., Any]) -> None:
    changed = ask("pools", "set", "crm", "7", "--by", "ann")
    assert (changed["slots"], changed["settings_slots"], changed["set_by"]) == (7, 2, "ann")
    assert ask("pools", "list")["items"][1]["slots"] == 7

    back = ask("pools", "reset", "crm")

    assert (back["slots"], back["set_by"]) == (2, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("set", "none", "1"), "no such pool"),
        (("set", "default", "1"), "default pool has no slots"),
        (("reset", "default"), "default pool has no slots"),
        (("set", "crm", "2000000"), "1000000"),
    ],
)
def test_what_cannot_be_set_is_refused(
    arguments: tuple[str, ...], expected: str, pooled: Path, run: Callable[..., Any]
) -> None:
    result = run("pools", *arguments)

    assert result.exit_code != 0
    assert expected in result.output


def test_resources_of_the_settings_are_listed(pooled: Path, ask: Callable[..., Any]) -> None:
    found = {one["name"]: one["total"] for one in ask("pools", "resources")["items"]}

    assert found["cpu"] == 3
    assert found.keys() == {"cpu", "memory", "storage"}


def test_mark_of_a_run_that_is_not_there_is_refused(pooled: Path, run: Callable[..., Any]) -> None:
    result = run("runs", "mark", "0192-none")

    assert result.exit_code != 0
    assert "run" in result.output


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[pools]\ncrm = -1\n", "pools.crm"),
        ("[pools]\ncrm = {weight = 2.0}\n", "slots is missing"),
        ("[pools]\ndefault = 5\n", "no slots of its own"),
        ('[pools]\n"a b" = 5\n', "a name has"),
        ("[pools]\ncrm = {slots = 1, color = 2}\n", "color"),
        ('[resources]\nmemory = "lots"\n', "resources.memory"),
        ("[resources]\ngpu = 1.5\n", "resources.gpu"),
        ("[resources]\ncpu = -2\n", "resources.cpu"),
    ],
)
def test_wrong_settings_are_told(written: str, expected: str, project: Path, run: Callable[..., Any]) -> None:
    (project / "tidemill.toml").write_text(written)

    result = run("pools", "list")

    assert result.exit_code != 0
    assert expected in result.output
