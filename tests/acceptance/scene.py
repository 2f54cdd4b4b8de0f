"""One scene: a project of its own, a receiver, a reader of the stream, senders, and the service between them.

The service is one process on SQLite, or any number of nodes on one PostgreSQL database: each has a copy of the
project in a folder of its own (`project`, `project-2`, ...), all watch the same inbox, and who sends asks the nodes in
turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.acceptance.checker import Violation, check
from tests.acceptance.databases import Database, PostgresDatabase, SqliteDatabase
from tests.acceptance.evidence import read_evidence
from tests.acceptance.notes import Notes, now_us
from tests.acceptance.receiver import Receiver, receiving
from tests.acceptance.senders import Client, Files, Http, Jobs, Records, cancel_run, find_run, post_event
from tests.acceptance.server import ServerProcess
from tests.acceptance.stream import StreamReader
from tests.acceptance.topic import completions_of, write_down

__all__ = ["EXPECTED", "GITHUB_SECRET", "SECRET", "Load", "Scene", "copy_project", "staged"]

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
SECRET = "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OWFi"
GITHUB_SECRET = "a secret of forty characters, give or take"
SETTLE_SECONDS = 60.0
_MODES = ("structured", "binary", "batch", "webhook", "form", "change")


def copy_project(
    folder: Path, *, inbox: Path, receiver_port: int, topic: str | None, to_topic: bool = True
) -> None:
    """The project under test at `folder`, with this test's addresses in it."""
    shutil.copytree(HERE / "project", folder, ignore=shutil.ignore_patterns("__pycache__"))
    if topic is None or not to_topic:
        (folder / "triggers" / "topic.yaml").unlink()
    for path in (folder / "triggers").glob("*.yaml"):
        text = path.read_text("utf-8").replace("TOPIC", topic or "unused").replace("INBOX", str(inbox))
        path.write_text(text.replace("RECEIVER_URL", f"http://127.0.0.1:{receiver_port}"), "utf-8")
    (inbox / "daily").mkdir(parents=True, exist_ok=True)


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
        postgres: str | None,
        nodes: int,
        settings_of: Mapping[str, Mapping[str, str]],
        to_topic: bool,
        client: Callable[[Callable[[], str]], Client],
    ) -> None:
        self.folder = folder
        self.receiver = receiver
        self._kafka = kafka
        self._to_topic = to_topic
        #: What the senders write down.
        self.sent = Notes(folder / "sent.jsonl")
        self._seen = Notes(folder / "stream.jsonl")
        environment = {
            "ACCEPTANCE_EFFECTS": str(folder / "effects.jsonl"),
            "ACCEPTANCE_SECRET": SECRET,
            "ACCEPTANCE_GITHUB_SECRET": GITHUB_SECRET,
            "TIDEMILL_FILE_SCAN_SECONDS": "1",
            # Every run must live through all the kills; what kills is tried in a test of its own.
            "TIDEMILL_MAX_RECOVERIES": "1000",
            # The databases that tests are given belong to this project.
            "TIDEMILL_PROJECT_NAME": "tidemill",
            **({"TIDEMILL_DATABASE": postgres} if postgres else {}),
            **({"TIDEMILL_KAFKA_BOOTSTRAP_SERVERS": kafka[0]} if kafka else {}),
            **settings,
        }
        self.servers = [
            ServerProcess(
                node_folder(folder, number),
                folder / f"server-{number}.log",
                {**environment, **settings_of.get(f"node-{number}", {})},
                node=f"node-{number}",
            )
            for number in range(1, nodes + 1)
        ]
        self.state: Database = (
            PostgresDatabase(postgres, self.database) if postgres else SqliteDatabase(self.database)
        )
        turns = itertools.cycle(self.servers)
        self.client = client(lambda: next(turns).url)
        self.stream = StreamReader(lambda: next(turns).url, self._seen)
        self._tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.stream.run())]

    @property
    def server(self) -> ServerProcess:
        """The first node; the only one where nobody asked for more."""
        return self.servers[0]

    @property
    def database(self) -> Path:
        """The SQLite file that evidence is read from."""
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
        http = [Http(mode, self.client, self.sent, seed=seed, pause=pause) for mode in modes]
        inbox = Files(self.folder / "inbox", self.sent, pause=2 * pause) if files else None
        produced = Records(*self._kafka, self.sent, pause=pause) if self._kafka and records else None
        works = [sender.run(stop) for sender in (*http, inbox, produced) if sender is not None]
        if jobs:
            works.append(Jobs(self.client, self.sent, pause=10 * pause).run(stop))
        tasks = [asyncio.create_task(work) for work in works]
        self._tasks += tasks
        return Load(http, inbox, produced, stop, tasks)

    async def post(self, kind: str, name: str) -> int:
        """Post one event that has no data; its position."""
        return await post_event(self.client, self.sent, kind=kind, name=name)

    async def run_at(self, position: int) -> str:
        """The run that routing makes of the event at `position`."""
        return await find_run(self.client, position)

    async def cancel(self, run: str) -> None:
        """Ask for the end of a run."""
        await cancel_run(self.client, self.sent, run)

    async def freeze(self, server: ServerProcess, seconds: float) -> None:
        """Stop a node without its knowing for so long."""
        at = now_us()
        server.suspend()
        await asyncio.sleep(seconds)
        self.sent.write(what="frozen", pid=server.pid, at=at, until=now_us())
        server.resume()

    async def settle(self) -> None:
        """Return when everything that was sent has come to its end.

        Or when nothing has changed for `SETTLE_SECONDS`: then the checker tells what has not.
        """
        self.receiver.is_moody = False
        deadline = time.monotonic() + SETTLE_SECONDS
        previous: tuple[int, ...] | None = None
        while time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            for task in self._tasks:
                if task.done():
                    task.result()
            now = await self._state()
            if now == previous and now[0] == self.stream.last and not any(now[1:4]):
                return
            if now != previous:
                deadline = time.monotonic() + SETTLE_SECONDS
            previous = now

    async def _state(self) -> tuple[int, ...]:
        """Head of the log; runs, deliveries and records that have not come to their end; what is there."""
        produced = (self.folder / "sent.jsonl").read_bytes().count(b'"what": "record"')
        head, open_runs, pending, taken, *there = await self.state.row(_STATE)
        return (head, open_runs, pending, produced - taken, *there)

    async def stop_and_check(self) -> list[Violation]:
        """Stop every node in order, then let the checker look."""
        await self.stop_tasks()
        running = [server for server in self.servers if server.is_running]
        for server in running:
            server.terminate()
        for server in running:
            code = await server.wait(40.0)
            assert code == 0, f"a stop in order ended with {code}: {server.log_tail()}"
        if self._kafka and self._to_topic:  # now that nobody delivers any more
            notes = Notes(self.folder / "topic.jsonl")
            await write_down(self._kafka[0], completions_of(self._kafka[1]), notes)
            notes.close()
        return await self.check()

    async def check(self) -> list[Violation]:
        """What the checker finds; the service must have ended."""
        await self.state.save()
        return check(read_evidence(self.folder, EXPECTED), secret=SECRET)

    async def stop_tasks(self) -> None:
        """End senders and reader."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def close(self) -> None:
        """End everything that was started, by its own pid."""
        for server in self.servers:
            server.kill()
        await self.stop_tasks()
        await self.client.close()
        self.sent.close()
        self._seen.close()


_STATE = """SELECT
    (SELECT coalesce(max(position), 0) FROM events),
    (SELECT count(*) FROM runs WHERE ended_at IS NULL),
    (SELECT count(*) FROM deliveries WHERE state = 'pending')
        + (SELECT count(*) FROM held_events WHERE trigger <> 'pair'),
    (SELECT count(*) FROM events WHERE source LIKE '/kafka/%' OR source = '/acceptance/kafka')
        + (SELECT count(*) FROM dead_letters WHERE stage = 'kafka'),
    (SELECT count(*) FROM runs),
    (SELECT count(*) FROM deliveries),
    (SELECT count(*) FROM files),
    (SELECT count(*) FROM held_events)
"""


def node_folder(folder: Path, number: int) -> Path:
    """The project folder of a node, counted from 1."""
    return folder / ("project" if number == 1 else f"project-{number}")


@contextlib.asynccontextmanager
async def staged(
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    kafka: tuple[str, str] | None = None,
    postgres: str | None = None,
    nodes: int = 1,
    settings_of: Mapping[str, Mapping[str, str]] | None = None,
    to_topic: bool = True,
    keep_alive: bool = True,
    answer_seconds: float = 10.0,
) -> AsyncIterator[Scene]:
    """A scene below `folder`; `kafka` is (bootstrap servers, topic), `postgres` the address of an empty database.

    `settings_of` are settings of single nodes, by name, beside the `settings` of all. Completions go `to_topic`, too,
    where there is a broker. Nothing of it is left running.
    Without `keep_alive` each request has a connection of its own: then a connection that is closed without an answer
    was never one that the server had merely kept open. Who got no answer within `answer_seconds` asks again, and where
    there are more nodes the next one.
    """
    notes = Notes(folder / "received.jsonl")
    topic = kafka[1] if kafka else None
    client = partial(Client, keep_alive=keep_alive, answer_seconds=answer_seconds)
    async with receiving(notes) as receiver:
        for number in range(1, nodes + 1):
            place = node_folder(folder, number)
            copy_project(
                place, inbox=folder / "inbox", receiver_port=receiver.port, topic=topic, to_topic=to_topic
            )
        scene = Scene(
            folder,
            receiver,
            settings or {},
            kafka,
            postgres=postgres,
            nodes=nodes,
            settings_of=settings_of or {},
            to_topic=to_topic,
            client=client,
        )
        try:
            yield scene
        finally:
            await scene.close()
            notes.close()
