"""`POST /events`: CloudEvents over HTTP in binary, structured and batched mode, as a lean ASGI application.

The hot path of the service: no request objects, no framework, no validation but that of CloudEvents. Rules:

1. Nothing is answered with 2xx before the commit that holds the events has returned.
2. A batch is accepted whole or refused whole, with every refused event named.
3. Size, time, rate and backlog are limited before a byte is looked at.
4. Who may post is decided in front of this application, not here.
5. A sender that would wait for what comes of its events (`Prefer: wait=N`) waits after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from tidemill.clock import Clock
from tidemill.errors import EventRejected, Overloaded, StorageError
from tidemill.events import http as binding
from tidemill.events import json_format, json_text, media, validate
from tidemill.events.event import Event
from tidemill.project.door import Door
from tidemill.project.endpoint import parse_rate
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.sources import answers, body
from tidemill.sources.answers import Receive, Scope, Send
from tidemill.sources.contract import SourceStatus
from tidemill.sources.outcomes import Outcomes
from tidemill.sources.preference import wanted_seconds
from tidemill.sources.tally import Tally
from tidemill.sources.waiting import answer_in_time
from tidemill.sources.webhooks.bucket import Bucket
from tidemill.sources.webhooks.handshake import Handshake
from tidemill.storage.contract import Append, EventLog

__all__ = ["HttpIngest"]

logger = logging.getLogger(__name__)

_STRUCTURED = media.STRUCTURED_TYPE.encode()
_ALLOW = ((b"allow", b"POST"),)
_OPEN_DOOR = Door()


class HttpIngest:
    """The ASGI application that takes CloudEvents into the log."""

    name = "http"

    def __init__(
        self,
        log: EventLog,
        *,
        clock: Clock,
        settings: Settings,
        project: Callable[[], Project] | None = None,
        outcomes: Outcomes | None = None,
        is_paused: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        """`project` brings the schemas of event data; `outcomes` lets senders wait. Without them there is neither."""
        self._log = log
        self._project = project
        self._outcomes = outcomes
        self._is_paused = is_paused
        self._max_body_bytes = settings.max_body_bytes
        self._max_batch_bytes = settings.max_batch_bytes
        self._max_batch_events = settings.max_batch_events
        self._body_timeout_seconds = settings.body_timeout_seconds
        self._handshake = Handshake(settings.handshake_origins)
        rate = settings.events_rate
        self._bucket = None if rate is None else Bucket(parse_rate(rate), clock=clock)
        self._tally = Tally(self.name, "http", clock=clock)

    def status(self) -> SourceStatus:
        """How it is doing now."""
        return self._tally.status()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; 202 means that its events are on disk."""
        try:
            if scope["method"] != "POST":
                await self._answer_other(scope, send)
                return
            events, was_batch, has_preferences = await self._receive(scope, receive)
            appended = await self._log.append(Append(events=events)) if events else []
        except (EventRejected, Overloaded, StorageError) as error:
            self._tally.refuse(error)
            await answers.send_refusal(send, error)
        except body.ClientGone:
            return
        except Exception as error:
            logger.exception("request.failed", extra={"path": "/events", "error": repr(error)})
            await answers.send_failure(send)
        else:
            self._tally.count(appended)
            if has_preferences and (seconds := wanted_seconds(scope["headers"])):
                pairs = list(zip(events, appended, strict=True))
                await answer_in_time(
                    self._outcomes, pairs, was_batch=was_batch, seconds=seconds, receive=receive, send=send
                )
                return
            encoded = answers.encode_batch(appended) if was_batch else answers.encode_one(appended[0])
            await answers.send_answer(send, 202, encoded)

    async def _answer_other(self, scope: Scope, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await self._handshake.answer(
                scope["headers"], send, rate=None if self._bucket is None else self._bucket.rate
            )
            return
        refusal = EventRejected("method_not_allowed", "events are posted")
        await answers.send_refusal(send, refusal, headers=_ALLOW)

    async def _receive(self, scope: Scope, receive: Receive) -> tuple[list[Event], bool, bool]:
        """The events, whether they came as a batch, and whether the request has preferences."""
        answers.check_paused(self.name, self._is_paused)
        answers.check_overload(self._log)
        if self._bucket is not None:
            self._bucket.take()
        headers = scope["headers"]
        content_type, is_gzip, length, has_preferences = body.declared(headers)
        is_batch = content_type is not None and _is_batch(content_type)
        raw = await body.read(
            receive,
            is_gzip=is_gzip,
            length=length,
            limit=self._max_batch_bytes if is_batch else self._max_body_bytes,
            seconds=self._body_timeout_seconds,
            too_large="batch_too_large" if is_batch else "payload_too_large",
        )
        door = _OPEN_DOOR if self._project is None else self._project().door
        try:
            events, was_batch = binding.from_http(headers, raw, max_events=self._max_batch_events)
            for event in events:
                validate.refuse_reserved(event)
                if door.asks:
                    door.check(event)
        except EventRejected as error:
            if is_batch and (problems := _problems_of_batch(raw, self._max_batch_events, door)):
                raise answers.BatchRejected(problems) from error
            raise
        return events, was_batch, has_preferences


def _is_batch(content_type: bytes) -> bool:
    if content_type == _STRUCTURED:
        return False
    return media.content_mode(content_type.decode("latin-1").strip(" \t")) is media.Mode.BATCH


def _problems_of_batch(raw: bytes, max_events: int, door: Door) -> list[EventRejected]:
    """The refusal of every event to blame, of a batch that was refused; empty when the batch itself is."""
    try:
        items = json_text.parse(raw, envelope=2)
    except EventRejected:
        return []
    if not isinstance(items, list) or len(items) > max_events:
        return []
    problems: list[EventRejected] = []
    for index, item in enumerate(items):
        try:
            event = json_format.from_json(item)
            validate.refuse_reserved(event)
            door.check(event)
        except EventRejected as refusal:
            problems.append(refusal.at(index))
    return problems
