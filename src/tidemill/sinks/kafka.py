"""Deliveries to Kafka topics: one idempotent producer for all subscriptions, one record per event.

The event's identity is in the record (`ce_id` and `ce_source`, or the structured text), the same every time.
Imports aiokafka: import this module only where a broker is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events import kafka as binding
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import KafkaSink

__all__ = ["KafkaProducer", "KafkaSinkDelivery"]

_LINGER_MS = 5
_MAX_BATCH_BYTES = 128 << 10
#: How long `close` waits for the brokers, and how long a client may take to disconnect.
_CLOSE_SECONDS = 1.0
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

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        security: Mapping[str, Any] | None = None,
        timeout_seconds: float = 15.0,
    ) -> None:
        """`security` are the client's options for TLS and SASL."""
        self.timeout_seconds = timeout_seconds
        self._security = security or {}
        self._bootstrap_servers = bootstrap_servers
        self._opening = asyncio.Lock()
        self._producer: Any = None
        self._retired: set[asyncio.Task[None]] = set()
        #: Set when nobody waits for the brokers any more.
        self._over = asyncio.Event()

    async def hand_over(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> asyncio.Future[Any]:
        """Queue a record; the future is done when every in-sync replica has it.

        A record that was handed over is tried until the brokers answer, over their restarts, and written
        once; only its answer may take long. Raises `SinkUnavailable` or `SinkRefused` when it was not queued.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds):
                producer = await self._open()
                accepted: asyncio.Future[Any] = await producer.send(
                    topic, value=value, key=key, headers=list(headers)
                )
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            raise verdict(error) from error
        accepted.add_done_callback(partial(self._look_at, producer))
        return accepted

    def retire_dead_client(self) -> None:
        """A client whose own task has died never learns of new leaders: what it holds fails, another one is opened."""
        if self._producer is not None and _is_dead(self._producer.client):
            self._retire(self._producer)

    async def close(self) -> None:
        """Send what was handed over, as far as the brokers take it at once, and disconnect.

        Takes a few seconds at most, whatever the brokers do: what they have not taken is not marked delivered.
        """
        if self._producer is not None:
            self._retire(self._producer)
        if self._retired:
            await asyncio.wait(self._retired, timeout=_CLOSE_SECONDS)
        self._over.set()
        while self._retired:
            await asyncio.wait(self._retired)

    async def _open(self) -> Any:
        async with self._opening:
            self.retire_dead_client()
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
            request_timeout_ms=int(self.timeout_seconds * 1000),
            **self._security,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _look_at(self, producer: Any, accepted: asyncio.Future[Any]) -> None:
        """A record that was given up leaves a hole in the sequence, and brokers refuse what follows."""
        if not accepted.cancelled() and accepted.exception() is not None:
            self._retire(producer)

    def _retire(self, producer: Any) -> None:
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(self._stop(producer))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _stop(self, producer: Any) -> None:
        stopping = asyncio.create_task(producer.stop())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait(
            (stopping, over), timeout=self.timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        over.cancel()
        if not stopping.done():  # it would wait for the brokers for ever; whoever waits for a record is told
            _fail_all(producer._message_accumulator)  # noqa: SLF001 - `stop` knows no other end
            await asyncio.wait((stopping,), timeout=_CLOSE_SECONDS)
        if not stopping.done():  # nor does it give up a request that a broker neither answers nor refuses
            stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        if _is_dead(producer.client):
            producer.client._sync_task = None  # noqa: SLF001 - it has raised what it died of into `stop`
        await producer.client.close()


def _is_dead(client: Any) -> bool:
    """Whether its metadata task has ended: uvloop raises an error there that the client does not know."""
    return client._sync_task is not None and bool(client._sync_task.done())  # noqa: SLF001 - nothing else tells


def _fail_all(accumulator: Any) -> None:
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    accumulator.fail_all(KafkaConnectionError("the producer is closed"))
    for batch in waiting:
        if batch._drain_waiter.done():  # noqa: SLF001 - nobody else looks at it, and that would be logged
            batch._drain_waiter.exception()  # noqa: SLF001


class KafkaSinkDelivery:
    """One subscription's topic (implements `Sink`)."""

    def __init__(self, spec: KafkaSink, producer: KafkaProducer) -> None:
        self._spec = spec
        self._producer = producer
        #: Handed over and not answered, by position: a later attempt waits for the same record.
        self._under_way: dict[int, tuple[Event, asyncio.Future[Any]]] = {}

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        """Return when the brokers have the event; keyed by `partitionkey`, or by the event's subject."""
        event, accepted = self._under_way.get(logged.position, (None, None))
        if accepted is None or event != logged.event:  # another version of what a dead letter holds
            accepted = await self._hand_over(logged)
            self._under_way[logged.position] = logged.event, accepted
        await asyncio.wait((accepted,), timeout=self._producer.timeout_seconds)
        if not accepted.done():
            self._producer.retire_dead_client()
            raise SinkUnavailable("the brokers have not answered yet")
        del self._under_way[logged.position]
        if (error := accepted.exception()) is not None:
            raise verdict(error) from error

    async def close(self) -> None:
        """Nothing to let go of: the producer is shared, and closed by who made it."""

    async def _hand_over(self, logged: LoggedEvent) -> asyncio.Future[Any]:
        event = logged.event
        key, value, headers = binding.to_kafka(event, self._spec.mode)
        if key is None and event.subject is not None:
            key = event.subject.encode()
        if key is None and value is None:
            value = b""  # a record must have one of them; an empty value is no data
        return await self._producer.hand_over(self._spec.topic, key, value, headers)


def verdict(error: BaseException) -> SinkRefused | SinkUnavailable:
    """What a client error means for a delivery."""
    if isinstance(error, _REFUSALS):
        return SinkRefused(_describe(error))
    return SinkUnavailable(_describe(error))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
