"""The project's real sources in one life of a harness, fed by the test in place of the outside.

Watched folders lie in the harness's own folder, where they are below the project; nothing there is watched or listed
again and again: whoever drops a file says so. Schedules tick in virtual time. Requests go through the real endpoints,
records through the real decoder. What can only be reached outside (databases, plug-ins) does not run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tidemill.clock import Clock
from tidemill.errors import EventRejected, TidemillError
from tidemill.ids import new_id
from tidemill.project.model import FileSource, KafkaSource, Project, ScheduleSource, WebhookSource
from tidemill.settings import Settings
from tidemill.sources.checked import checked
from tidemill.sources.contract import Source
from tidemill.sources.http import HttpIngest
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Append, Appended, EventLog, Store
from tidemill.testing.signing import signed_headers

if TYPE_CHECKING:
    from tidemill.sources.files.source import FileSourceStage

__all__ = ["Answer", "Arrivals", "SourceError"]

#: What is done now and then in real life is done once a day of virtual time.
_SELDOM = timedelta(days=1)
#: Where the watched folders lie below the harness's folder.
_FILES = "files"


class SourceError(TidemillError):
    """The project has no such source, or no source takes this."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered."""

    status: int
    #: Lower-case names.
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


@dataclass(slots=True, kw_only=True)
class _Record:
    """See `KafkaRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default=())


class Arrivals:
    """Sources that run, and ways in."""

    def __init__(
        self, project: Project, store: Store, folder: Path, *, clock: Clock, settings: Settings
    ) -> None:
        self._project = project
        self._clock = clock
        self._folder = folder / _FILES
        self._max_body_bytes = settings.max_body_bytes
        self._log: EventLog = checked(store.log, lambda: project.door, clock=clock)
        self._store = store
        self.files: list[tuple[FileSource, FileSourceStage]] = []
        self._timed: list[Source] = []
        self._webhooks = WebhookIngest(store.log, project=lambda: project, clock=clock, settings=settings)
        self._http = HttpIngest(store.log, clock=clock, settings=settings, project=lambda: project)
        self._build()

    @property
    def sources(self) -> list[Source]:
        """What runs until it is cancelled."""
        return [*(stage for _, stage in self.files), *self._timed]

    @property
    def waiting(self) -> int:
        """Files that were dropped and are not in the log."""
        return sum(stage.status().lag or 0 for _, stage in self.files)

    def _build(self) -> None:
        from tidemill.sources.schedule import NamedScheduleStage, ScheduleSourceStage

        log, ledger, clock = self._log, self._store.ledger, self._clock
        seldom = _SELDOM.total_seconds()
        for spec in self._project.sources:
            if isinstance(spec, FileSource):
                self._watch(spec)
            elif isinstance(spec, ScheduleSource):
                self._timed.append(NamedScheduleStage(spec, log, ledger, clock=clock, slice_seconds=seldom))
        scheduled = [dag for dag in self._project.dags.values() if dag.schedule is not None]
        if scheduled:
            self._timed.append(ScheduleSourceStage(scheduled, log, ledger, clock=clock, slice_seconds=seldom))

    def _watch(self, spec: FileSource) -> None:
        from tidemill.sources.files.source import FileSourceStage

        archive = spec.archive
        here = replace(
            spec,
            path=self.place(spec.path),
            archive=None if archive is None else replace(archive, folder=self.place(archive.folder)),
            watch="polling",
            poll=_SELDOM,
        )
        stage = FileSourceStage(
            here,
            self._log,
            self._store.ledger,
            clock=self._clock,
            scan_seconds=_SELDOM.total_seconds(),
            runs=self._store.runs,
            threads=_at_once,
        )
        self.files.append((here, stage))

    # ── files ──

    def place(self, path: str | Path) -> Path:
        """Where a path of the project is in the harness's folder."""
        found = self._project.root / path
        root = self._project.root
        return self._folder / (
            found.relative_to(root) if found.is_relative_to(root) else found.relative_to("/")
        )

    def drop(self, path: str | Path, content: bytes | str, *, moved: bool) -> Path:
        """Write a file and say so; `moved` into place, or closed after writing."""
        from tidemill.sources.files.watch import Hint

        place = self.place(path)
        taking = [(spec, stage) for spec, stage in self.files if place.is_relative_to(spec.path)]
        if not taking:
            folders = [str(spec.path.relative_to(self._folder)) for spec, _ in self.files]
            raise SourceError(f"no source watches {path}; watched are: {', '.join(folders) or 'none'}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        now = self._clock.now_us() * 1000
        os.utime(place, ns=(now, now))
        for spec, stage in taking:
            stage.tell(Hint(str(place.relative_to(spec.path)), complete=True, moved=moved))
        return place

    # ── requests ──

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One request to `POST /events`."""
        return await _request(self._http, "/events", body, headers, query="")

    async def webhook(
        self, name: str, body: bytes, headers: Mapping[str, str], *, query: str, signed: bool
    ) -> Answer:
        """One request to `POST /webhooks/NAME`, signed with the source's own secret where it has one and `signed`."""
        spec = self._source(name, WebhookSource)
        made = signed_headers(spec, body, self._project.root, now_us=self._clock.now_us()) if signed else {}
        return await _request(self._webhooks, f"/webhooks/{name}", body, {**made, **headers}, query=query)

    # ── records ──

    async def record(
        self,
        name: str,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: Mapping[str, bytes],
        topic: str | None,
        partition: int,
        offset: int,
    ) -> Appended | None:
        """One record of the source's topic; None when it became a dead letter."""
        from tidemill.sources.kafka.records import Decoder

        spec = self._source(name, KafkaSource)
        decoder = Decoder(
            origin=name,
            cluster="test",
            event_type=spec.event_type,
            max_body_bytes=self._max_body_bytes,
            ordering=spec.ordering,
        )
        record = _Record(
            topic=topic or next(iter(spec.topics), "topic"),
            partition=partition,
            offset=offset,
            timestamp=self._clock.now_us() // 1000,
            key=key,
            value=value,
            headers=list(headers.items()),
        )
        try:
            events, letters = [decoder.decode(record)], []
        except EventRejected as error:
            events = []
            letters = [decoder.dead_letter(record, error, letter_id=new_id(), at=self._clock.now_us())]
        job = Append(events=events, dead_letters=letters, refuse_reuse=False, stage="kafka", origin=spec.name)
        answers = await self._log.append(job)
        return answers[0] if answers and answers[0].position else None

    def _source(self, name: str, kind: type[Any]) -> Any:
        for spec in self._project.sources:
            if spec.name == name and isinstance(spec, kind):
                return spec
        known = [spec.name for spec in self._project.sources if isinstance(spec, kind)]
        raise SourceError(f"there is no such source {name!r}; these are: {', '.join(known) or 'none'}")


async def _request(
    endpoint: Callable[..., Any], path: str, body: bytes, headers: Mapping[str, str], *, query: str
) -> Answer:
    """One request to an ASGI application."""
    told = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    if not any(name == b"content-length" for name, _ in told):
        told.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "headers": told,
        "client": ("test", 0),
        "server": ("test", 0),
    }
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()  # the client stays
            raise AssertionError
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await endpoint(scope, receive, send)
    started = sent[0]
    return Answer(
        started["status"],
        {name.decode("latin-1"): value.decode("latin-1") for name, value in started.get("headers", ())},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


class _AtOnce(Executor):
    """Calls at once, in the event loop."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _at_once(_name: str) -> Iterator[Executor]:
    yield _AtOnce()
