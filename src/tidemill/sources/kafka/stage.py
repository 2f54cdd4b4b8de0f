"""The Kafka source as a stage: connects, reads, and begins again when the connection breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from tidemill.clock import Clock
from tidemill.project.model import KafkaSource
from tidemill.sources.contract import SourceStatus
from tidemill.sources.kafka.metadata import ClusterMetadata, disconnect
from tidemill.sources.kafka.reader import Reader
from tidemill.sources.kafka.records import Decoder
from tidemill.sources.kafka.report import Report
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["KafkaSourceStage"]

_RECONNECT_SECONDS = 1.0
#: Longest time to leave the group in order; brokers then find out by themselves.
_STOP_SECONDS = 3.0
#: Longest that a broker holds a fetch back; other requests wait behind it.
_FETCH_WAIT_MS = 250
_HEARTBEAT_MS = 1_000
_SESSION_MS = 10_000


class KafkaSourceStage:
    """One `kafka` source of the project: a member of a consumer group (implements `Source`).

    Every record is in the log exactly once, or in the dead letters with its bytes and coordinates, in the
    order of its partition: the cursor moves in the transaction that holds the records, and only from where
    this consumer believes it to stand. The group only shares out partitions.
    """

    on_every_node = True

    def __init__(
        self,
        spec: KafkaSource,
        log: EventLog,
        ledger: Ledger,
        *,
        clock: Clock,
        bootstrap_servers: str,
        security: Mapping[str, Any] | None = None,
        max_body_bytes: int = 1 << 20,
        metadata_seconds: float = 10.0,
    ) -> None:
        """`security` are the client's options for TLS and SASL; new topics are seen within `metadata_seconds`."""
        self.name = spec.name
        self._spec = spec
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._connection = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": f"tidemill-{spec.name}",
            "metadata_max_age_ms": int(metadata_seconds * 1000),
            **(security or {}),
        }
        self._max_body_bytes = max_body_bytes
        self._report = Report(spec.name, clock=clock)
        self._reader: Reader | None = None

    async def run(self) -> None:
        """Read until cancelled; whatever the brokers do, it begins again by itself."""
        self._report.begin()
        try:
            while True:
                try:
                    async with self._connect() as reader:
                        await reader.read()
                except (KafkaError, OSError, TimeoutError, RuntimeError) as error:
                    # uvloop raises RuntimeError for a connection that has just closed, and the client lets it pass.
                    self._report.stall(error)
                await self._clock.sleep(_RECONNECT_SECONDS)
        finally:
            self._report.stop()

    def status(self) -> SourceStatus:
        """How it is doing now; `lag` counts the records of its partitions that are not in the log yet."""
        return self._report.status(self._reader.lag() if self._reader is not None else None)

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[Reader]:
        async with ClusterMetadata(AIOKafkaClient(**self._connection)) as metadata:
            consumer = self._consumer()
            try:
                await consumer.start()
                reader = Reader(
                    self._spec,
                    consumer,
                    self._log,
                    self._ledger,
                    metadata=metadata,
                    decoder=self._decoder(metadata.cluster_id),
                    clock=self._clock,
                    report=self._report,
                )
                self._reader = reader
                try:
                    yield reader
                finally:
                    self._reader = None
                    await reader.close()
            finally:
                await _stop(consumer)

    def _decoder(self, cluster: str) -> Decoder:
        """The cluster's own id is part of every place and of every cursor: another cluster is another history."""
        return Decoder(
            origin=self.name,
            cluster=cluster,
            event_type=self._spec.event_type,
            max_body_bytes=self._max_body_bytes,
            ordering=self._spec.ordering,
        )

    def _consumer(self) -> Any:
        return AIOKafkaConsumer(
            **self._connection,
            group_id=self._spec.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            session_timeout_ms=_SESSION_MS,
        )


async def _stop(consumer: Any) -> None:
    """Leave the group and disconnect: a rebalance that does not end must hold up neither a stop nor a new beginning.

    Nor does the client's cancellation of its own fetches become ours: it raises it into whoever awaits `stop` when one
    of them pauses after a failure, and a stage that ends cancelled is one that somebody ended.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait((stopping,), timeout=_STOP_SECONDS)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait((stopping,), timeout=_STOP_SECONDS)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        await disconnect(consumer._client)  # noqa: SLF001 - who was cut off while stopping lets nobody try again
