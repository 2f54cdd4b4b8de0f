"""Receivers of a project's subscriptions, in place of the outside: they keep what they got, and answer as told.

What arrives is exactly what would be sent: the sinks that make and sign it are the real ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tidemill.clock import Clock
from tidemill.errors import SettingsError, SinkUnavailable
from tidemill.events import kafka as kafka_binding
from tidemill.events.event import LoggedEvent
from tidemill.project.model import KafkaSink, Project, Subscription, WebhookSink
from tidemill.settings import Settings
from tidemill.sinks.contract import Sink
from tidemill.sinks.secrets import read_secret
from tidemill.sinks.webhook import WebhookSinkDelivery

if TYPE_CHECKING:
    from tidemill.sinks.outgoing import Reply

__all__ = ["SECRET", "Delivered", "Receiver"]

#: What signs where the secret of a sink cannot be read, as on a machine that has none.
SECRET = "whsec_dGlkZW1pbGwtdGVzdGluZy1zZWNyZXQtMDE="  # noqa: S105 - guards nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One attempt at a delivery, as its receiver saw it."""

    subscription: str
    #: URL of the webhook, or the Kafka topic.
    to: str
    #: Lower-case names.
    headers: Mapping[str, str]
    body: bytes
    #: What the receiver answered; 200 for a topic.
    status: int
    #: Microseconds since the epoch, in virtual time.
    at_us: int
    #: Key of the record, for a topic.
    key: bytes | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver took it."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """The receiver of one subscription."""

    subscription: str
    got: list[Delivered] = field(default_factory=list)
    #: Statuses of the next answers, with their `Retry-After`; then 200.
    answers: deque[tuple[int | None, str | None]] = field(default_factory=deque)

    def sink(self, one: Subscription, project: Project, settings: Settings, *, clock: Clock) -> Sink:
        """The sink of one life of the process."""
        match one.sink:
            case WebhookSink() as spec:
                secrets = [spec.secret] if spec.secret is not None else [*spec.secrets]
                return WebhookSinkDelivery(
                    spec,
                    [_secret(secret, project) for secret in secrets],
                    timeout_seconds=settings.delivery_timeout_seconds,
                    clock=clock,
                    client=_Client(self, clock),  # type: ignore[arg-type]
                )
            case KafkaSink() as spec:
                return _Topic(self, spec, clock)

    def answer(self) -> tuple[int | None, str | None]:
        """What comes next."""
        return self.answers.popleft() if self.answers else (200, None)


class _Client:
    """Takes the place of `Outgoing`."""

    def __init__(self, receiver: Receiver, clock: Clock) -> None:
        self._receiver = receiver
        self._clock = clock

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, within: float) -> Reply:
        from tidemill.sinks.outgoing import Reply  # the HTTP library takes long to import

        status, retry_after = self._receiver.answer()
        self._receiver.got.append(
            Delivered(
                subscription=self._receiver.subscription,
                to=url,
                headers=dict(headers),
                body=body,
                status=status or 0,
                at_us=self._clock.now_us(),
            )
        )
        if status is None:
            raise SinkUnavailable("the receiver cannot be reached")
        return Reply(status, retry_after)

    async def options(self, url: str, *, headers: Mapping[str, str], within: float) -> Reply:
        from tidemill.sinks.outgoing import Reply

        return Reply(200, None, allowed_origin="*")

    async def close(self) -> None:
        pass


class _Topic:
    """Takes the place of a topic; see `Sink`."""

    def __init__(self, receiver: Receiver, spec: KafkaSink, clock: Clock) -> None:
        self._receiver = receiver
        self._spec = spec
        self._clock = clock

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        event = logged.event
        key, value, headers = kafka_binding.to_kafka(event, self._spec.mode)
        status, _ = self._receiver.answer()
        if key is None and event.subject is not None:
            key = event.subject.encode()
        self._receiver.got.append(
            Delivered(
                subscription=self._receiver.subscription,
                to=self._spec.topic,
                headers={name: value.decode("utf-8", "replace") for name, value in headers},
                body=value or b"",
                status=status or 0,
                at_us=self._clock.now_us(),
                key=key,
            )
        )
        if status is None or not 200 <= status < 300:
            raise SinkUnavailable("the brokers have not answered yet")

    async def close(self) -> None:
        pass


def _secret(secret: Any, project: Project) -> str:
    try:
        return read_secret(secret, project.root)
    except SettingsError:
        return SECRET
