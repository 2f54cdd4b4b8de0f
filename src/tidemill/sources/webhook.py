"""`POST /webhooks/NAME`: plain JSON and form posts become CloudEvents as the source's templates say. Rules:

1. Nothing is answered with 2xx before the commit that holds the event has returned.
2. Size and time are limited before the signature; it is verified on the raw bytes before they are parsed.
3. The event's id is what the source maps, else the sender's `webhook-id`, else the digest of the body: the
   same body is the same event then, so a sender that repeats itself starts nothing twice.
4. A source whose secrets cannot be read takes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidemill.clock import Clock
from tidemill.errors import EventRejected, Overloaded, StorageError
from tidemill.events.event import Event
from tidemill.project.model import Project, Secret, WebhookSource
from tidemill.settings import Settings
from tidemill.sources import answers, body, signature, webhook_event
from tidemill.sources.answers import Receive, Scope, Send
from tidemill.sources.contract import SourceStatus
from tidemill.sources.tally import Tally
from tidemill.storage.contract import Append, EventLog

__all__ = ["WebhookIngest"]

logger = logging.getLogger(__name__)

_PREFIX = "/webhooks/"
_ALLOW = ((b"allow", b"POST"),)
#: When a sender should come back to a source whose secrets cannot be read, in seconds.
_STALLED_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Door:
    """One webhook source, ready to take requests."""

    source: WebhookSource
    keys: tuple[bytes, ...]
    tally: Tally
    #: Why it takes nothing; empty when it does.
    error: str


class WebhookIngest:
    """The ASGI application that takes webhooks into the log."""

    def __init__(
        self, log: EventLog, *, project: Callable[[], Project], clock: Clock, settings: Settings
    ) -> None:
        self._log = log
        self._project = project
        self._clock = clock
        self._max_body_bytes = settings.max_body_bytes
        self._body_timeout_seconds = settings.body_timeout_seconds
        self._seen: Project | None = None
        self._doors: dict[str, _Door] = {}
        self._open_doors()

    def statuses(self) -> list[SourceStatus]:
        """How each webhook source is doing now."""
        return [door.tally.status(door.error) for door in self._open_doors().values()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; 202 means that its event is on disk."""
        door = self._open_doors().get(scope["path"].removeprefix(_PREFIX))
        if door is None:
            await answers.send_refusal(send, EventRejected("not_found", "there is no such webhook"))
        elif scope["method"] != "POST":
            refusal = EventRejected("method_not_allowed", "events are posted")
            await answers.send_refusal(send, refusal, headers=_ALLOW)
        else:
            await self._answer(door, scope, receive, send)

    async def _answer(self, door: _Door, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            event = await self._receive(door, scope, receive)
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
            await answers.send_answer(send, 202, answers.encode_one(appended[0]))

    async def _receive(self, door: _Door, scope: Scope, receive: Receive) -> Event:
        if door.error:
            raise Overloaded(
                "store_unavailable",
                "this webhook cannot verify signatures",
                retry_after=_STALLED_RETRY_SECONDS,
            )
        answers.check_overload(self._log)
        _, is_gzip, length = body.declared(scope["headers"])
        raw = await body.read(
            receive,
            is_gzip=is_gzip,
            length=length,
            limit=self._max_body_bytes,
            seconds=self._body_timeout_seconds,
            too_large="payload_too_large",
        )
        headers = webhook_event.join_headers(scope["headers"])
        if door.keys:
            signature.verify(door.keys, headers, raw, now_us=self._clock.now_us())
        return webhook_event.from_request(door.source, headers, scope["query_string"], raw)

    def _open_doors(self) -> dict[str, _Door]:
        """The doors of the project as it is now; they are made again when it was replaced."""
        project = self._project()
        if project is not self._seen:
            found = (spec for spec in project.sources if isinstance(spec, WebhookSource))
            self._doors = {source.name: self._open(source, project) for source in found}
            self._seen = project
        return self._doors

    def _open(self, source: WebhookSource, project: Project) -> _Door:
        keys: list[bytes] = []
        error = ""
        for secret in source.secrets:
            try:
                keys.append(signature.parse_secret(_read_secret(secret, project.root)))
            except (OSError, ValueError) as problem:
                error = f"the secret in {secret.kind} {secret.place} cannot be used: {_reason(problem)}"
                logger.warning("source.stalled", extra={"source": source.name, "error": error})
        known = self._doors.get(source.name)
        tally = known.tally if known else Tally(source.name, "webhook", clock=self._clock)
        return _Door(source, tuple(keys), tally, error)


def _read_secret(secret: Secret, root: Path) -> str:
    if secret.kind == "file":
        return (root / secret.place).read_text("utf-8")
    try:
        return os.environ[secret.place]
    except KeyError:
        raise ValueError("the variable is not set") from None


def _reason(problem: OSError | ValueError) -> str:
    """What went wrong, never with a byte of the secret."""
    if isinstance(problem, OSError):
        return problem.strerror or "it cannot be read"
    return "it is not UTF-8" if isinstance(problem, UnicodeError) else str(problem)
