"""The Kafka source as a stage: connects, reads, and begins again when the connection breaks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tidemill.clock import Clock
from tidemill.project.model import KafkaSource
from tidemill.sources.contract import SourceStatus
from tidemill.sources.kafka.reader import Reader
from tidemill.sources.kafka.records import Decoder
from tidemill.sources.kafka.report import Report
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["KafkaSourceStage"]

_RECONNECT_SECONDS = 1.0
#: How soon new partitions and topics are seen.
_METADATA_MS = 30_000
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
        max_body_bytes: int = 1 << 20,
    ) -> None:
        self.name = spec.name
        self._spec = spec
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._bootstrap_servers = bootstrap_servers
        self._max_body_bytes = max_body_bytes
        self._report = Report(spec.name, clock=clock)
        self._reader: Reader | None = None

    async def run(self) -> None:
        """Read until cancelled; whatever the brokers do, it begins again by itself."""
        try:
            while True:
                try:
                    async with self._connect() as reader:
                        await reader.read()
                except (KafkaError, OSError, TimeoutError) as error:
                    self._report.stall(error)
                await self._clock.sleep(_RECONNECT_SECONDS)
        finally:
            self._report.stop()

    def status(self) -> SourceStatus:
        """How it is doing now; `lag` counts the records of its partitions that are not in the log yet."""
        return self._report.status(self._reader.lag() if self._reader is not None else None)

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[Reader]:
        cluster = await self._cluster_id()
        consumer = self._consumer()
        try:
            await consumer.start()
            decoder = Decoder(
                origin=self.name,
                cluster=cluster,
                event_type=self._spec.event_type,
                max_body_bytes=self._max_body_bytes,
            )
            reader = Reader(
                self._spec,
                consumer,
                self._log,
                self._ledger,
                decoder=decoder,
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
            await consumer.stop()

    async def _cluster_id(self) -> str:
        """The cluster's own id, part of every cursor's name: another cluster is another history."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        try:
            await admin.start()
            described: dict[str, Any] = await admin.describe_cluster()
        finally:
            await admin.close()
        return str(described["cluster_id"])

    def _consumer(self) -> Any:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=f"tidemill-{self.name}",
            group_id=self._spec.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            metadata_max_age_ms=_METADATA_MS,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            session_timeout_ms=_SESSION_MS,
        )
