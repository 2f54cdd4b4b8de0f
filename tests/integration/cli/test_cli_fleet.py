"""Several servers on one PostgreSQL database, as people start, look at, move to and stop them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tidemill.testing.postgres import PostgresServer, require_binaries

pytestmark = pytest.mark.postgres

Serve = Callable[..., Any]
Tidemill = Callable[..., subprocess.CompletedProcess[str]]

_PATIENCE = 20


def _settings(url: str, name: str) -> dict[str, str]:
    return {
        "TIDEMILL_DATABASE": url,
        "TIDEMILL_NODE_NAME": name,
        "TIDEMILL_PROJECT_NAME": "tidemill",
    }


def _shards(tidemill: Tidemill, *, url: str) -> dict[str, int]:
    import json

    listed = tidemill("nodes", "list", "--url", url, "--output", "json")
    assert listed.returncode == 0, listed.stderr
    return {node["name"]: node["shards"] for node in json.loads(listed.stdout)["items"]}


def _wait_for_shards(tidemill: Tidemill, expected: dict[str, int], *, url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (found := _shards(tidemill, url=url)) != expected:
        assert time.monotonic() < deadline, found


def test_nodes_share_the_work_and_the_last_one_has_it_all(
    serve: Serve, tidemill: Tidemill, postgres_url: str
) -> None:
    one = serve(environment=_settings(postgres_url, "one"))
    url = one.wait_for_log("service.started")["url"]
    two = serve(environment=_settings(postgres_url, "two"))
    second = two.wait_for_log("service.started")["url"]
    _wait_for_shards(tidemill, {"one": 128, "two": 128}, url=url)
    table = tidemill("nodes", "list", "--url", second).stdout.splitlines()
    assert re.split(r"\s{2,}", table[0].strip())[4:] == [
        "silent",
        "live runs",
        "running tasks",
        "waiting tasks",
        "unrouted",
    ]
    for row, name in zip(table[1:], ("one", "two"), strict=True):
        assert re.split(r"\s{2,}", row.strip())[::5] == [name, "0"], "no run is live"
        assert row.split()[-3:] == ["0", "0", "0"]

    # Accepted by the one, run wherever its shard is.
    for number in range(6):
        sent = tidemill("events", "send", "-t", "number.came", "-d", f'{{"n": {number}}}', "--url", url)
        assert sent.returncode == 0, sent.stderr
    two.signal(signal.SIGTERM)
    code, _ = two.wait()
    _wait_for_shards(tidemill, {"one": 256}, url=url)
    deadline = time.monotonic() + _PATIENCE
    while True:
        listed = tidemill("runs", "list", "--url", url)
        if listed.stdout.count("succeeded") == 6:
            break
        assert time.monotonic() < deadline, listed.stdout
    assert code == 0
    assert url != second


def test_database_is_brought_to_the_newest_form_without_a_server(
    tidemill: Tidemill, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database("to_be_migrated")

    first = tidemill("migrate", environment={"TIDEMILL_DATABASE": url})
    again = tidemill("migrate", environment={"TIDEMILL_DATABASE": url})

    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert first.stdout == "the database has the newest form\n"
    assert postgres_server.run("SELECT count(*) FROM events", "to_be_migrated") == "0"


def test_project_moves_from_sqlite_to_postgresql_and_goes_on(
    serve: Serve, tidemill: Tidemill, project: Path, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database("moved")
    environment = {"TIDEMILL_DATABASE": url}
    server = serve()
    server.wait_for_log("service.started")
    tidemill("events", "send", "-t", "number.came", "-d", '{"n": 1}')
    server.wait_for_log("run.ended")
    server.stop()

    moved = tidemill("migrate", "--from", ".tidemill/tidemill.db", environment=environment)
    after = serve(environment=environment)
    place = after.wait_for_log("service.started")["url"]
    tidemill("events", "send", "-t", "number.came", "-d", '{"n": 2}', "--url", place)
    after.wait_for_log("run.ended")
    listed = tidemill("runs", "list", "--url", place)

    assert moved.returncode == 0, moved.stderr
    assert "every table was compared" in moved.stdout
    assert "events: 2 rows" in moved.stderr
    assert listed.stdout.count("succeeded") == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: "postgresql://somebody:secret@127.0.0.1:9/x", "cannot be reached"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "does not exist"),
    ],
    ids=["nobody there", "no such database"],
)
def test_database_that_cannot_be_used_is_one_sentence_and_exit_code_two(
    serve: Serve, postgres_url: str, change: Callable[[str], str], sentence: str
) -> None:
    code, said = serve(environment={"TIDEMILL_DATABASE": change(postgres_url)}).wait()

    assert code == 2
    assert said.startswith("error: database: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert "secret" not in said


def test_two_projects_in_one_database_are_refused(serve: Serve, postgres_url: str) -> None:
    mine = {"TIDEMILL_DATABASE": postgres_url, "TIDEMILL_PROJECT_NAME": "another"}

    code, said = serve(environment=mine).wait()

    assert code == 2
    assert "it holds the state of project 'tidemill', not of 'another'" in said


def test_missing_extra_is_one_sentence_and_exit_code_two(serve: Serve, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "asyncpg.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'asyncpg'\", name='asyncpg')", "utf-8"
    )
    environment = {"TIDEMILL_DATABASE": "postgresql://127.0.0.1/x", "PYTHONPATH": str(hidden)}

    code, said = serve(environment=environment).wait()

    assert code == 2
    assert said == "error: database: PostgreSQL needs an extra; install tidemill[postgres]\n"


def test_too_few_connections_are_one_sentence_and_exit_code_two(serve: Serve) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-postgres-", ignore_cleanup_errors=True) as folder,
        PostgresServer(
            require_binaries(),
            Path(folder),
            options=("max_connections=5", "superuser_reserved_connections=1"),
        ) as server,
    ):
        server.run("CREATE ROLE plain LOGIN CREATEDB")
        server.run("CREATE DATABASE small OWNER plain")
        url = server.url("small").replace("postgres@", "plain@")

        async def fill() -> tuple[int, str]:
            async with contextlib.AsyncExitStack() as opened:
                for _ in range(4):
                    connection = await asyncpg.connect(url)
                    opened.push_async_callback(connection.close)
                started = await asyncio.to_thread(serve, environment={"TIDEMILL_DATABASE": url})
                return await asyncio.to_thread(started.wait)

        code, said = asyncio.run(fill())

    assert code == 2
    assert "has no connection left; raise max_connections" in said
    assert said.count("\n") == 1
