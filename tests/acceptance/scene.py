"""One scene: a project of its own, a receiver, a reader of the stream, senders, and the service between them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.checker import Violation, check
from tests.acceptance.evidence import connect, read_evidence
from tests.acceptance.notes import Notes
from tests.acceptance.receiver import Receiver, receiving
from tests.acceptance.senders import Client, Files, Http, Jobs, Records, post_event
from tests.acceptance.server import ServerProcess
from tests.acceptance.stream import StreamReader
from tests.acceptance.topic import completions_of, write_down

__all__ = ["EXPECTED", "SECRET", "Load", "Scene", "copy_project", "staged"]

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
SECRET = "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OWFi"
SETTLE_SECONDS = 60.0
_MODES = ("structured", "binary", "batch", "webhook", "form")


def copy_project(folder: Path, *, receiver_port: int, topic: str | None) -> None:
    """The project under test at `folder`, with this test's addresses in it."""
    shutil.copytree(HERE / "project", folder, ignore=shutil.ignore_patterns("__pycache__"))
    if topic is None:
        (folder / "triggers" / "topic.yaml").unlink()
    for path in (folder / "triggers").glob("*.yaml"):
        text = path.read_text("utf-8").replace("TOPIC", topic or "unused")
        path.write_text(text.replace("RECEIVER_URL", f"http://127.0.0.1:{receiver_port}"), "utf-8")
    (folder / "inbox" / "daily").mkdir(parents=True)


@dataclass(slots=True)
class Load:
    """Senders at work."""

    http: list[Http]
    files: Files | None
    records: Records | None
    stop: asyncio.Event
    tasks: list[asyncio.Task[None]]

    async def finish(self) -> None:
        """Begin nothing new and return when everything that was begun is acknowledged."""
        self.stop.set()
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*self.tasks)

    def raise_failure(self) -> None:
        """A sender that met what must not be ends the test."""
        for task in self.tasks:
            if task.done():
                task.result()


class Scene:
    """Everything around one service under test."""

    def __init__(
        self,
        folder: Path,
        receiver: Receiver,
        settings: Mapping[str, str],
        kafka: tuple[str, str] | None,
        *,
        keep_alive: bool,
    ) -> None:
        self.folder = folder
        self.receiver = receiver
        self._kafka = kafka
        self._sent = Notes(folder / "sent.jsonl")
        self._seen = Notes(folder / "stream.jsonl")
        environment = {
            "ACCEPTANCE_EFFECTS": str(folder / "effects.jsonl"),
            "ACCEPTANCE_SECRET": SECRET,
            "TIDEMILL_FILE_SCAN_SECONDS": "1",
            # Every run must live through all the kills; what kills is tried in a test of its own.
            "TIDEMILL_MAX_RECOVERIES": "1000",
            **({"TIDEMILL_KAFKA_BOOTSTRAP_SERVERS": kafka[0]} if kafka else {}),
            **settings,
        }
        self.server = ServerProcess(folder / "project", folder / "server.log", environment)
        self.client = Client(lambda: self.server.url, keep_alive=keep_alive)
        self.stream = StreamReader(lambda: self.server.url, self._seen)
        self._tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.stream.run())]

    @property
    def database(self) -> Path:
        return self.folder / "project" / ".tidemill" / "tidemill.db"

    def send(
        self,
        *,
        modes: tuple[str, ...] = _MODES,
        files: bool = True,
        jobs: bool = True,
        records: bool = True,
        pause: float = 0.05,
        seed: int = 0,
    ) -> Load:
        """Begin to send through every source that is named."""
        stop = asyncio.Event()
        http = [Http(mode, self.client, self._sent, seed=seed, pause=pause) for mode in modes]
        inbox = Files(self.folder / "project" / "inbox", self._sent, pause=2 * pause) if files else None
        produced = Records(*self._kafka, self._sent, pause=pause) if self._kafka and records else None
        works = [sender.run(stop) for sender in (*http, inbox, produced) if sender is not None]
        if jobs:
            works.append(Jobs(self.client, self._sent, pause=10 * pause).run(stop))
        tasks = [asyncio.create_task(work) for work in works]
        self._tasks += tasks
        return Load(http, inbox, produced, stop, tasks)

    async def post(self, kind: str, name: str) -> int:
        """Post one event that has no data; its position."""
        return await post_event(self.client, self._sent, kind=kind, name=name)

    async def settle(self) -> None:
        """Return when everything that was sent has come to its end, or after `SETTLE_SECONDS` (the checker tells)."""
        self.receiver.is_moody = False
        deadline = time.monotonic() + SETTLE_SECONDS
        previous: tuple[int, ...] | None = None
        while time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            for task in self._tasks:
                if task.done():
                    task.result()
            now = self._state()
            if now == previous and now[0] == self.stream.last and not any(now[1:4]):
                return
            previous = now

    def _state(self) -> tuple[int, ...]:
        """Head of the log; runs, deliveries and records that have not come to their end; what is there."""
        produced = (self.folder / "sent.jsonl").read_bytes().count(b'"what": "record"')
        with connect(self.database) as database:
            head, open_runs, pending, taken, *there = (
                database.execute(query).fetchone()[0] for query in _STATE
            )
        return (head, open_runs, pending, produced - taken, *there)

    async def stop_and_check(self) -> list[Violation]:
        """Stop in order, then let the checker look."""
        await self.stop_tasks()
        if self._kafka:
            notes = Notes(self.folder / "topic.jsonl")
            await write_down(self._kafka[0], completions_of(self._kafka[1]), notes)
            notes.close()
        self.server.terminate()
        code = await self.server.wait(40.0)
        assert code == 0, f"a stop in order ended with {code}: {self.server.log_tail()}"
        return self.check()

    def check(self) -> list[Violation]:
        """What the checker finds; the service must have ended."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return check(read_evidence(self.folder, EXPECTED), secret=SECRET)

    async def stop_tasks(self) -> None:
        """End senders and reader."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def close(self) -> None:
        """End everything that was started, by its own pid."""
        self.server.kill()
        await self.stop_tasks()
        await self.client.close()
        self._sent.close()
        self._seen.close()


_STATE = (
    "SELECT coalesce(max(position), 0) FROM events",
    "SELECT count(*) FROM runs WHERE ended_at IS NULL",
    "SELECT count(*) FROM deliveries WHERE state = 'pending'",
    (
        "SELECT (SELECT count(*) FROM events WHERE source LIKE '/kafka/%' OR source = '/acceptance/kafka')\n"
        "     + (SELECT count(*) FROM dead_letters WHERE stage = 'kafka')"
    ),
    "SELECT count(*) FROM runs",
    "SELECT count(*) FROM deliveries",
    "SELECT count(*) FROM files",
)


@contextlib.asynccontextmanager
async def staged(
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    kafka: tuple[str, str] | None = None,
    keep_alive: bool = True,
) -> AsyncIterator[Scene]:
    """A scene below `folder`; `kafka` is (bootstrap servers, topic). Nothing of it is left running.

    Without `keep_alive` each request has a connection of its own: then a connection that is closed without an answer
    was never one that the server had merely kept open.
    """
    notes = Notes(folder / "received.jsonl")
    async with receiving(notes) as receiver:
        copy_project(folder / "project", receiver_port=receiver.port, topic=kafka[1] if kafka else None)
        scene = Scene(folder, receiver, settings or {}, kafka, keep_alive=keep_alive)
        try:
            yield scene
        finally:
            await scene.close()
            notes.close()
