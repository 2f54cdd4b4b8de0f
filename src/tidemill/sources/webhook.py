"""`POST /webhooks/NAME`: plain JSON and form posts become CloudEvents as the source's templates say. Rules:

1. Nothing is answered with 2xx before the commit that holds the event has returned.
2. Size, time and rate are limited before the signature; it is verified on the raw bytes before they are parsed.
3. The event's id is what the source maps, else the sender's own id of the delivery (`X-GitHub-Delivery`,
   `webhook-id`, …), else the digest of the body: a delivery that is sent again is the same event.
4. A source whose secrets cannot be read takes nothing.
5. A source that asks for a signature, or expressly for nothing, is open without the service's token; every other
   path below `/webhooks/`, known or not, is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from tidemill.clock import Clock
from tidemill.errors import EventRejected, Overloaded, StorageError
from tidemill.events.event import Event
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.sources import answers, body, webhook_event
from tidemill.sources.answers import Receive, Scope, Send
from tidemill.sources.contract import SourceStatus
from tidemill.sources.outcomes import Outcomes
from tidemill.sources.preference import wanted_seconds
from tidemill.sources.waiting import answer_in_time, applied, wait_for
from tidemill.sources.webhooks.challenge import challenge_in
from tidemill.sources.webhooks.doors import Doors, WebhookDoor
from tidemill.sources.webhooks.handshake import Handshake
from tidemill.sources.webhooks.rendering import render
from tidemill.storage.contract import Append, Appended, EventLog

__all__ = ["WebhookIngest"]

logger = logging.getLogger(__name__)

_PREFIX = "/webhooks/"
_ALLOW = ((b"allow", b"POST"),)
_PLAIN = ((b"content-type", b"text/plain; charset=utf-8"),)
#: When a sender should come back to a source whose secrets cannot be read, in seconds.
_STALLED_RETRY_SECONDS = 60


class WebhookIngest:
    """The ASGI application that takes webhooks into the log."""

    def __init__(
        self,
        log: EventLog,
        *,
        project: Callable[[], Project],
        clock: Clock,
        settings: Settings,
        outcomes: Outcomes | None = None,
        is_paused: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        """`outcomes` lets senders wait for what comes of their events."""
        self._log = log
        self._project = project
        self._clock = clock
        self._outcomes = outcomes
        self._is_paused = is_paused
        self._max_body_bytes = settings.max_body_bytes
        self._body_timeout_seconds = settings.body_timeout_seconds
        self._handshake = Handshake(settings.handshake_origins)
        self._doors = Doors(project, clock=clock)

    def statuses(self) -> list[SourceStatus]:
        """How each webhook source is doing now."""
        return [door.tally.status(door.error) for door in self._doors.all().values()]

    def is_open(self, path: str) -> bool:
        """Whether a request to `path` may come in without the service's token (rule 5)."""
        door = self._doors.all().get(path.removeprefix(_PREFIX))
        return door is not None and not door.source.needs_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a 2xx to an event means that it is on disk."""
        door = self._doors.all().get(scope["path"].removeprefix(_PREFIX))
        if door is None:
            await answers.send_refusal(send, EventRejected("not_found", "there is no such webhook"))
        elif scope["method"] == "OPTIONS":
            await self._handshake.answer(scope["headers"], send, rate=door.source.rate)
        elif scope["method"] != "POST":
            refusal = EventRejected("method_not_allowed", "events are posted")
            await answers.send_refusal(send, refusal, headers=_ALLOW)
        else:
            await self._answer(door, scope, receive, send)

    async def _answer(self, door: WebhookDoor, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            event = await self._receive(door, scope, receive)
            if isinstance(event, str):  # a challenge is given back and is no event
                await answers.send_made(send, 200, event.encode(), headers=_PLAIN)
                return
            appended = await self._log.append(Append(events=[event], origin=door.source.name))
        except (EventRejected, Overloaded, StorageError) as error:
            door.tally.refuse(error)
            await answers.send_refusal(send, error)
        except body.ClientGone:
            return
        except Exception as error:
            logger.exception("request.failed", extra={"path": scope["path"], "error": repr(error)})
            await answers.send_failure(send)
        else:
            door.tally.count(appended)
            await self._acknowledge(door, scope, event, appended[0], receive, send)

    async def _acknowledge(
        self, door: WebhookDoor, scope: Scope, event: Event, appended: Appended, receive: Receive, send: Send
    ) -> None:
        seconds = 0 if self._outcomes is None else wanted_seconds(scope["headers"])
        spec, pair = door.source.answer, (event, appended)
        if spec is None and seconds:
            await answer_in_time(
                self._outcomes, [pair], was_batch=False, seconds=seconds, receive=receive, send=send
            )
            return
        headers: answers.Headers = ()
        if spec is not None:
            found, granted = await wait_for(self._outcomes, [pair], seconds=seconds, receive=receive)
            made = render(spec, event, appended, runs=found[0].runs)
            headers = applied(granted) if granted and found[0].is_complete else ()
            if made is not None:
                status, fields, content = made
                await answers.send_made(send, status, content, headers=(*fields, *headers))
                return
        await answers.send_answer(send, 202, answers.encode_one(appended), headers=headers)

    async def _receive(self, door: WebhookDoor, scope: Scope, receive: Receive) -> Event | str:
        source = door.source
        if door.error:
            raise Overloaded(
                "store_unavailable",
                "this webhook cannot verify signatures",
                retry_after=_STALLED_RETRY_SECONDS,
            )
        answers.check_paused(source.name, self._is_paused)
        answers.check_overload(self._log)
        if door.bucket is not None:
            door.bucket.take()
        _, is_gzip, length, _ = body.declared(scope["headers"])
        raw = await body.read(
            receive,
            is_gzip=is_gzip,
            length=length,
            limit=min(source.max_body_bytes or self._max_body_bytes, self._max_body_bytes),
            seconds=self._body_timeout_seconds,
            too_large="payload_too_large",
        )
        headers = webhook_event.join_headers(scope["headers"])
        if door.verifier is not None:
            door.verifier.verify(headers, raw, now_us=self._clock.now_us())
        value = webhook_event.parse_body(headers.get("content-type", ""), raw)
        delivery_id = None
        if door.verifier is not None:
            if (challenge := challenge_in(source.signature, value)) is not None:
                return challenge
            delivery_id = door.verifier.delivery_id(headers, value)
        event = webhook_event.from_request(
            source, headers, scope["query_string"], raw, value=value, delivery_id=delivery_id
        )
        self._project().door.check(event)
        return event
