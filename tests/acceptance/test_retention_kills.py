"""Killed while segments go into the archive and out of the log: each event is in one of them, what is needed stays."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import signal
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.databases import Database, PostgresDatabase, SqliteDatabase
from tests.acceptance.evidence import connect
from tests.acceptance.senders import Client, find_run
from tests.acceptance.server import ServerProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

#: Positions per segment, as the documentation of `archive_url` has it.
_SEGMENT = 4096
#: Positions that one transaction drops.
_PIECE = 256
_TOTAL = 3 * _SEGMENT + 100
_PAGE = 512
#: Ids of the event whose run does not end, and of the one that waits in an admission; they stand a little further on.
_NAP, _HELD = _SEGMENT + 600, 2 * _SEGMENT + 600
_WORKFLOW = """
import asyncio
from tidemill import dag, task

@task
async def work(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds

@dag
def rest(seconds: float):
    return work(seconds)
"""
_TRIGGERS = """
triggers:
  - name: tick
    dag: rest
    filters: [{exact: {type: com.example.tick}}]
    parameters: {seconds: 0.0}
  - name: nap
    dag: rest
    filters: [{exact: {type: com.example.nap}}]
    parameters: {seconds: 600.0}
  - name: wait
    dag: rest
    filters: [{exact: {type: com.example.wait}}]
    parameters: {seconds: 0.0}
    admission:
      debounce: {period: 1h}
"""
_KEEP_NOTHING = {"TIDEMILL_RETENTION_DAYS": "0.000000001", "TIDEMILL_ARCHIVE_URL": "archive"}


def _event(place: int) -> dict[str, Any]:
    kind = "com.example.tick" if place % 100 == 0 else "com.example.noise"
    kind = {_NAP: "com.example.nap", _HELD: "com.example.wait"}.get(place, kind)
    return {"specversion": "1.0", "id": str(place), "source": "/t", "type": kind, "data": {"n": place}}


async def _post(client: Client, first: int, last: int) -> list[dict[str, Any]]:
    content = json.dumps([_event(place) for place in range(first, last)])
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer = await client.ask("POST", "/events", content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def _begin_at(database: Database, position: int) -> None:
    """Wait until the log begins there."""
    async with asyncio.timeout(15):
        while True:
            if await database.row("SELECT min(position) FROM events") == (position,):
                return
            await asyncio.sleep(0.05)


async def _settle(database: Database, open_runs: int) -> None:
    """Wait until every other run has ended; one event waits all the time."""
    query = "SELECT (SELECT count(*) FROM runs WHERE ended_at IS NULL), (SELECT count(*) FROM held_events)"
    async with asyncio.timeout(15):
        while await database.row(query) != (open_runs, 1):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


class Past:
    """What there is to keep, as it was before anything was dropped."""

    def __init__(self, database: Path, before: Past | None = None) -> None:
        """`before` knows what has been dropped meanwhile."""
        self.events: dict[int, Any] = dict(before.events) if before else {}
        self.became: dict[int, set[tuple[str, str, str | None]]] = defaultdict(
            set, before.became if before else {}
        )
        with connect(database) as copy:
            for position, body in copy.execute("SELECT position, body FROM events"):
                self.events[position] = json.loads(body)
            for position, *one in copy.execute("SELECT position, trigger, kind, run_id FROM dispositions"):
                self.became[position].add((one[0], one[1], one[2]))


async def _audit(client: Client) -> dict[str, Any]:
    answer = await client.ask("GET", "/api/v1/audit")
    report: dict[str, Any] = answer.json()
    return report


async def _cancel_run_of(client: Client, position: int) -> None:
    run = await find_run(client, position)
    answer = await client.ask("POST", f"/api/v1/runs/{run}/cancel")
    assert answer.status_code == 202, answer.text


def _archived(folder: Path) -> list[Mapping[str, Any]]:
    """Every line of every file that is whole."""
    return [
        json.loads(line)
        for path in sorted(folder.glob("events-*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def _check(past: Past, database: Path, archive: Path, *, kept_from: int) -> None:
    """The log begins there, everything before is archived once and as it was, and nothing else is gone."""
    lines = _archived(archive)
    places = Counter(line["position"] for line in lines)
    with connect(database) as copy:
        logged = {position for (position,) in copy.execute("SELECT position FROM events")}
        disposed = {position for (position,) in copy.execute("SELECT position FROM dispositions")}
        (forgotten,) = copy.execute(
            "SELECT count(*) FROM runs WHERE ended_at IS NULL AND position < ?", (kept_from,)
        ).fetchone()
    assert set(places.values()) == {1}
    assert set(places) == set(range(1, kept_from))
    assert logged >= past.events.keys() - places.keys()
    assert min(logged) == kept_from
    assert not {position for position in disposed if position < kept_from}
    assert forgotten == 0
    for line in lines:
        position = line["position"]
        assert line["event"] == past.events[position]
        became = {(one["trigger"], one["kind"], one["run"]) for one in line["dispositions"]}
        assert became == past.became.get(position, set())


async def test_dropped_events_are_archived_once_and_needed_ones_stay_when_killed(
    tmp_path: Path, postgres: str | None
) -> None:
    project = tmp_path / "project"
    for name, text in (("workflows/rest.py", _WORKFLOW), ("triggers/t.yaml", _TRIGGERS)):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, "utf-8")
    file, copy = project / ".tidemill" / "tidemill.db", tmp_path / "copy.db"
    archive = project / "archive"
    environment = {
        "TIDEMILL_DRAIN_SECONDS": "0",
        "TIDEMILL_MAX_RECOVERIES": "1000",
        "TIDEMILL_PROJECT_NAME": "tidemill",
    }
    if postgres:
        environment["TIDEMILL_DATABASE"] = postgres
    database: Database = PostgresDatabase(postgres, copy) if postgres else SqliteDatabase(file)
    server = ServerProcess(project, tmp_path / "log", environment)
    client = Client(lambda: server.url, keep_alive=True)

    async def look() -> Path:
        """Where the state can be read as it is now."""
        if postgres:
            await database.save()
        return copy if postgres else file

    async def kill_at(point: str) -> int:
        """The first position of the log afterwards."""
        await server.start(kill_at=point)
        assert await server.wait(20.0) == -signal.SIGKILL, f"{point}: {server.log_tail()}"
        (first,) = await database.row("SELECT min(position) FROM events")
        return int(first)

    async def kill_around_the_drop(number: int = 1) -> tuple[int, int, int]:
        """The same when the next segment is archived and not dropped, and when it is; the statement that drops it."""
        files = len(list(archive.glob("*.gz")))
        for at in itertools.count(number):
            first = await kill_at(f"statement.before_commit:{at}")
            if len(list(archive.glob("*.gz"))) > files:
                return first, await kill_at(f"statement.after_commit:{at}"), at
        raise AssertionError

    try:
        await server.start()
        answers = [
            answer
            for first in range(1, _TOTAL, _PAGE)
            for answer in await _post(client, first, min(first + _PAGE, _TOTAL))
        ]
        nap, held = answers[_NAP - 1]["position"], answers[_HELD - 1]["position"]
        assert _SEGMENT < nap <= 2 * _SEGMENT < held <= 3 * _SEGMENT < answers[-1]["position"]
        await _settle(database, 1)
        server.terminate()
        assert await server.wait(30.0) == 0
        past = Past(await look())
        server.environment.update(_KEEP_NOTHING)

        *firsts, number = await kill_around_the_drop()
        assert firsts == [1, _PIECE + 1]
        assert len(_archived(archive)) == _SEGMENT
        await kill_at(f"statement.before_commit:{number}")  # runs of what is gone go with it
        await server.start()
        await _begin_at(database, _SEGMENT + 1)
        assert (await _audit(client))["wrong"] == 0
        _check(past, await look(), archive, kept_from=_SEGMENT + 1)

        await _cancel_run_of(client, nap)
        await _settle(database, 0)
        server.kill()
        past = Past(await look(), past)
        *firsts, _ = await kill_around_the_drop(number)
        assert firsts == [_SEGMENT + 1, _SEGMENT + _PIECE + 1]
        await server.start()
        await _begin_at(database, 2 * _SEGMENT + 1)
        again = await _post(client, 1, 3)
        assert [(one["position"], one["duplicate"]) for one in again] == [(1, True), (2, True)]
        assert (await _audit(client))["wrong"] == 0
        server.terminate()
        assert await server.wait(30.0) == 0
        _check(past, await look(), archive, kept_from=2 * _SEGMENT + 1)
    finally:
        server.kill()
        await client.close()
