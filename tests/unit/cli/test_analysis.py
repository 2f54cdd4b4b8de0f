"""`runs analyze`, `dags analyze` and how far a run is, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tidemill.cli.analysis import told_seconds
from tidemill.cli.watch import told_progress
from tidemill.clock import SystemClock
from tidemill.events.event import Event
from tidemill.storage.contract import Append, Disposition, DispositionKind, NewRun, RouteBatch
from tidemill.storage.sqlite import open_store

Ask = Callable[..., Any]
Run = Callable[..., Result]


async def queued(project: Path, version: str) -> str:
    """A run in the project's store that waits to start."""
    store = await open_store(project / ".tidemill" / "tidemill.db", clock=SystemClock())
    event = Event(id="1", source="/shop", type="number.came")
    (answer,) = await store.log.append(Append(events=[event]))
    run = NewRun(
        run_id="018cc251-f400-7000-8000-000000000000",
        dag="doubling",
        version=version,
        trigger="manual",
        position=answer.position,
        event_source="/shop",
        event_id="1",
        parameters=b'{"n":4,"label":""}',
        queued_at=1,
        correlation_id="1",
        hop_count=0,
    )
    where = Disposition(answer.position, "manual", DispositionKind.RUN, run.run_id)
    await store.runs.route(RouteBatch(expected=0, cursor=answer.position, dispositions=[where], runs=[run]))
    await store.close()
    return run.run_id


def test_a_dag_of_which_nothing_is_known_is_analysed_by_its_graph(project: Path, ask: Ask) -> None:
    found = ask("dags", "analyze", "doubling")

    assert [step["task"] for step in found["critical_path"]] == ["double"]
    assert found["tasks"][0]["learned"] is False
    assert found["what_if"] is None


def test_a_run_that_waits_is_analysed_as_it_is_expected(project: Path, ask: Ask) -> None:
    run_id = asyncio.run(queued(project, ask("dags", "show", "doubling")["version"]))

    found = ask("runs", "analyze", run_id, "--slots", "1", "--faster", "double=0.5")

    assert found["run"] == run_id
    assert found["remaining_seconds"] is None
    assert found["what_if"]["slots"] == 1
    assert found["what_if"]["after_seconds"] == pytest.approx(found["what_if"]["before_seconds"] / 2)


def test_the_table_names_path_tasks_and_what_would_help(project: Path, run: Run) -> None:
    result = run("dags", "analyze", "doubling", "--without", "double")

    assert result.exit_code == 0
    for words in ("length", "critical path", "bottlenecks", "double", "what if", "no order could be faster"):
        assert words in result.stdout


def test_json_is_an_option_of_its_own(project: Path, run: Run) -> None:
    assert (
        run("dags", "analyze", "doubling", "--json").stdout
        == run("dags", "analyze", "doubling", "-o", "json").stdout
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("dags", "analyze", "nobody"),
        ("runs", "analyze", "nobody"),
        ("dags", "analyze", "doubling", "--without", "nobody"),
        ("dags", "analyze", "doubling", "--faster", "double"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(project: Path, run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_show_tells_how_far_the_run_is(project: Path, ask: Ask, run: Run) -> None:
    run_id = asyncio.run(queued(project, ask("dags", "show", "doubling")["version"]))

    assert ask("runs", "show", run_id)["progress"]["total"] == 1
    assert "0 of 1 tasks" in run("runs", "show", run_id).stdout


def test_progress_is_told_in_one_line() -> None:
    progress = {"done": 3, "total": 10, "failed": 1, "running": 2, "remaining_seconds": 95.0}

    assert told_progress(progress) == "3 of 10 tasks, 1 failed, 2 running, about 95 s left"
    assert (
        told_progress({**progress, "failed": 0, "running": 0, "remaining_seconds": None}) == "3 of 10 tasks"
    )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0"),
        (0.0123, "12.3 ms"),
        (1.5, "1.5 s"),
        (119, "119 s"),
        (150, "2 min 30 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_times_are_told_as_people_say_them(seconds: float, told: str) -> None:
    assert told_seconds(seconds) == told
