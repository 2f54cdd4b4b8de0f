"""A service killed at the commits of its admission: what waits is neither lost nor doubled, and every limit holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.notes import wait_until
from tests.acceptance.server import ServerProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

_WORKFLOW = """
import asyncio
from tidemill import dag, task

@task
async def work(events: list) -> int:
    await asyncio.sleep(0.05)
    return len(events)

@dag
def take(events: list):
    return work(events)
"""
_TRIGGERS = """
triggers:
  - name: together
    dag: take
    filters: [{exact: {type: com.example.counted}}]
    parameters: {events: $.events}
    admission:
      key: $.data.k
      idempotency: {key: $.data.n, ttl: 1h}
      debounce: {period: 50ms, max_wait: 500ms}
      batch: {size: 7, period: 200ms, key: ''}
      throttle: {limit: 20, period: 1s, key: ''}
      concurrency: {limit: 2, when_full: coalesce}
  - name: pairs
    dag: take
    filters: [{exact: {type: com.example.counted}}]
    parameters: {events: $.events}
    admission:
      join:
        key: $.data.pair
        of:
          - {name: even, pattern: {data: {half: [0]}}}
          - {name: odd, pattern: {data: {half: [1]}}}
        window: 10m
"""
_POINTS = (
    "route.before_commit:2",
    "route.after_commit:3",
    "append.after_commit:9",
    "route.before_commit:6",
    "record.after_commit:4",
    "route.after_commit:9",
    "route.before_commit:14",
    "record.before_commit:7",
    "route.after_commit:20",
)


class Sender:
    """Posts numbered events, each until it is acknowledged, a third of them once more under another identity."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.sent = 0
        self.stop = False

    async def run(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while not self.stop:
                number = self.sent
                for copy in range(2 if number % 3 == 0 else 1):
                    data = {"n": number, "k": number % 5, "pair": number // 2, "half": number % 2}
                    await self._post(client, f"{number}/{copy}", data)
                self.sent = number + 1
                await asyncio.sleep(0.005)

    async def _post(self, client: httpx.AsyncClient, name: str, data: dict[str, int]) -> None:
        event = {
            "specversion": "1.0",
            "id": name,
            "source": "/t",
            "type": "com.example.counted",
            "data": data,
        }
        headers = {"content-type": "application/cloudevents+json"}
        while True:
            try:
                answer = await client.post(f"{self.server.url}/events", json=event, headers=headers)
            except httpx.HTTPError:
                await asyncio.sleep(0.02)
                continue
            if answer.status_code < 300:
                return
            assert answer.status_code in (429, 503), answer.text
            await asyncio.sleep(0.02)


def ask(database: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_what_waits_survives_kills_at_every_commit(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name, text in (("workflows/take.py", _WORKFLOW), ("triggers/t.yaml", _TRIGGERS)):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, "utf-8")
    database = project / ".tidemill" / "tidemill.db"
    server = ServerProcess(project, tmp_path / "log", {"TIDEMILL_MAX_RECOVERIES": "1000"})
    sender = Sender(server)
    sending = asyncio.ensure_future(sender.run())

    for point in _POINTS:
        await server.start(kill_at=point)
        assert await server.wait(30) == -signal.SIGKILL, f"{point}: {server.log_tail()}"
    await server.start()
    await asyncio.sleep(0.5)
    sender.stop = True
    await sending

    def is_settled() -> bool:
        held = ask(database, "SELECT count(*) FROM held_events WHERE trigger = 'together'")[0][0]
        return not held and not ask(database, "SELECT 1 FROM runs WHERE ended_at IS NULL")

    await wait_until(is_settled, seconds=60)
    server.terminate()
    assert await server.wait(30) == 0, server.log_tail()
    check(database, sender.sent)


def check(database: Path, sent: int) -> None:
    assert sent > 50
    events = ask(
        database, "SELECT position, body ->> '$.data.n' FROM events WHERE type = 'com.example.counted'"
    )
    dispositions = ask(database, "SELECT trigger, position, kind, run_id FROM dispositions")
    held = ask(database, "SELECT trigger, position FROM held_events")
    places = Counter([(trigger, position) for trigger, position, _, _ in dispositions] + held)
    assert places == Counter(
        (trigger, position) for trigger in ("together", "pairs") for position, _ in events
    )

    runs = ask(database, "SELECT run_id, trigger, state, parameters, started_at, ended_at FROM runs")
    assert {run[2] for run in runs} == {"succeeded"}
    for trigger in ("together", "pairs"):
        ids = {run[0] for run in runs if run[1] == trigger}
        assert {run for name, _, kind, run in dispositions if name == trigger and kind == "run"} == ids
    taken = [
        event["data"]["n"] for run in runs if run[1] == "together" for event in json.loads(run[3])["events"]
    ]
    assert sorted(taken) == list(range(sent)), "each number in one run, once"
    copies = Counter(kind for trigger, _, kind, _ in dispositions if trigger == "together")
    assert copies["duplicate_of"] == len(events) - sent
    _check_slots(database)


def _check_slots(database: Path) -> None:
    """At no time are there more than two open runs of a key."""
    runs = ask(
        database,
        "SELECT body ->> '$.data.k', queued_at, ended_at FROM runs JOIN events USING (position)"
        " WHERE trigger = 'together'",
    )
    for key in range(5):
        changes = sorted(
            change for k, begun, ended in runs if k == key for change in ((begun, 1), (ended, -1))
        )
        assert max(itertools.accumulate(step for _, step in changes), default=0) <= 2
