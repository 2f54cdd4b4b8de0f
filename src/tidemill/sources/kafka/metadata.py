"""What a cluster says of itself and its topics, asked over a connection of its own.

1. Topic ids (Metadata since version 10) tell a topic from another one of the same name: aiokafka's own requests end
   at version 5, so the one version used here is written out. Brokers without it answer an older one, without ids.
2. The consumer's connections are not used: a broker answers one request of a connection after the other, and a fetch
   may wait there.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

__all__ = ["ClusterMetadata", "Topic", "disconnect"]

_SECONDS = 10.0
#: Longest wait for a connection that nobody wants any more.
_LAST_SECONDS = 1.0
_METADATA_KEY = 3
_NO_ID = bytes(16)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it is now."""

    name: str
    #: As Kafka's tools show it; None where the brokers know no ids.
    id: str | None
    partitions: frozenset[int]
    is_internal: bool = False


class ClusterMetadata:
    """Asks a cluster; a context manager that connects."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client
        #: The cluster's own id, known once it is connected.
        self.cluster_id = ""

    async def __aenter__(self) -> ClusterMetadata:
        """Raises `KafkaError` or `TimeoutError` when no broker answers."""
        try:
            await self._bootstrap()
            self.cluster_id = str((await self._ask([])).cluster_id)
        except BaseException:
            await disconnect(self._client)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await disconnect(self._client)

    async def topics(self, names: Iterable[str] | None = None) -> Mapping[str, Topic]:
        """Those of `names` that exist, or all; raises `KafkaError` or `TimeoutError` when no broker answers."""
        answer = await self._ask(None if names is None else sorted(names))
        read = _read_v12 if isinstance(answer, _MetadataResponse_v12) else _read_v5
        found = [topic for row in answer.topics if (topic := read(row)) is not None]
        return {topic.name: topic for topic in found}

    async def _bootstrap(self) -> None:
        """Connect; when cancelled, let it end first: the client forgets a connection that it is cut off from making."""
        connecting = asyncio.ensure_future(self._client.bootstrap())
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait((connecting,), timeout=_LAST_SECONDS)
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            raise

    async def _ask(self, names: list[str] | None) -> Any:
        """The first answer of any broker: one that is down must not matter while others are there."""
        nodes = [broker.nodeId for broker in self._client.cluster.brokers()]
        random.shuffle(nodes)
        failure: Exception = KafkaConnectionError("no broker is known")
        async with asyncio.timeout(_SECONDS):
            for node in nodes:
                try:
                    return await self._client.send(node, _MetadataRequest(names))
                except (KafkaError, OSError) as error:
                    failure = error
        raise failure


async def disconnect(client: AIOKafkaClient) -> None:
    """Close a client, also one whose own task has died: what it died of would come out of `close` half-way."""
    task = client._sync_task  # noqa: SLF001 - nothing else tells
    if task is not None and task.done():
        if not task.cancelled():
            task.exception()  # nobody else looks at it, and that would be logged
        client._sync_task = None  # noqa: SLF001
    await client.close()


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is not typed
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponse_v12(Response):  # type: ignore[misc]  # noqa: N801 - as the protocol names it
    API_KEY = _METADATA_KEY
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequest_v12(RequestStruct):  # type: ignore[misc]  # noqa: N801 - as the protocol names it
    API_KEY = _METADATA_KEY
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse_v12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[MetadataRequest_v5 | _MetadataRequest_v12]):  # type: ignore[misc]
    """About `names`, or about all topics; never makes a topic."""

    API_KEY = _METADATA_KEY

    def __init__(self, names: list[str] | None) -> None:
        self._names = names

    def build(self, request_struct_class: type[Any]) -> Any:
        if request_struct_class is MetadataRequest_v5:
            return MetadataRequest_v5(self._names, False)
        names: list[Any] | None = None
        if self._names is not None:
            names = [(_NO_ID, name, {}) for name in self._names]
        return _MetadataRequest_v12(names, False, False, {})


def _read_v12(row: Any) -> Topic | None:
    error, name, topic_id, is_internal, partitions, *_ = row
    if error or name is None:
        return None
    shown = None if topic_id == _NO_ID else base64.urlsafe_b64encode(topic_id).decode("ascii").rstrip("=")
    return Topic(name, shown, frozenset(partition[1] for partition in partitions or ()), is_internal)


def _read_v5(row: Any) -> Topic | None:
    error, name, is_internal, partitions = row
    if error:
        return None
    return Topic(name, None, frozenset(partition[1] for partition in partitions), is_internal)
