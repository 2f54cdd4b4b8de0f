"""Deliveries to Kafka topics: one idempotent producer for all subscriptions, one record per event.

The event's identity is in the record (`ce_id` and `ce_source`, or the structured text), the same every time.
Imports aiokafka: import this module only where a broker is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events import kafka as binding
from tidemill.events.event import LoggedEvent
from tidemill.project.model import KafkaSink

__all__ = ["KafkaProducer", "KafkaSinkDelivery"]

_LINGER_MS = 5
_MAX_BATCH_BYTES = 128 << 10
#: What no later attempt can change; people have to.
_REFUSALS = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

Headers = Sequence[tuple[str, bytes]]


class KafkaProducer:
    """The process's one connection for producing, opened by the first record."""

    def __init__(self, bootstrap_servers: str, *, timeout_seconds: float = 15.0) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._timeout_ms = int(timeout_seconds * 1000)
        self._opening = asyncio.Lock()
        self._producer: Any = None
        self._retired: set[asyncio.Task[None]] = set()

    async def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Return when every in-sync replica has the record; raises `SinkUnavailable` or `SinkRefused`."""
        producer = await self._open()
        try:
            accepted = await producer.send(topic, value=value, key=key, headers=list(headers))
        except (KafkaError, OSError) as error:  # not handed over: the producer is as it was
            raise _verdict(error) from error
        try:
            await accepted
        except (KafkaError, OSError) as error:
            self._retire(producer)
            raise _verdict(error) from error

    async def close(self) -> None:
        """Send what was handed over, as far as the brokers take it, and disconnect."""
        if self._producer is not None:
            self._retire(self._producer)
        while self._retired:
            await asyncio.wait(self._retired)

    async def _open(self) -> Any:
        async with self._opening:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    async def _start(self) -> Any:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            client_id="tidemill",
            enable_idempotence=True,
            linger_ms=_LINGER_MS,
            max_batch_size=_MAX_BATCH_BYTES,
            request_timeout_ms=self._timeout_ms,
        )
        try:
            await producer.start()
        except BaseException as error:
            await producer.stop()
            if isinstance(error, KafkaError | OSError):
                raise SinkUnavailable(_describe(error)) from error
            raise
        return producer

    def _retire(self, producer: Any) -> None:
        """Use this producer no more: brokers refuse what follows a record that it gave up."""
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(self._stop(producer))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _stop(self, producer: Any) -> None:
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError):
            return  # whoever waits for its records is told by their futures


class KafkaSinkDelivery:
    """One subscription's topic (implements `Sink`)."""

    def __init__(self, spec: KafkaSink, producer: KafkaProducer) -> None:
        self._spec = spec
        self._producer = producer

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        """Return when the brokers have the event; keyed by `partitionkey`, or by the event's subject."""
        event = logged.event
        key, value, headers = binding.to_kafka(event, self._spec.mode)
        if key is None and event.subject is not None:
            key = event.subject.encode()
        await self._producer.send(self._spec.topic, key, value, headers)

    async def close(self) -> None:
        """Nothing to let go of: the producer is shared, and closed by who made it."""


def _verdict(error: Exception) -> SinkRefused | SinkUnavailable:
    if isinstance(error, _REFUSALS):
        return SinkRefused(_describe(error))
    return SinkUnavailable(_describe(error))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
