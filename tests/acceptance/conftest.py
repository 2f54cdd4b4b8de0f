"""What the acceptance tests share: topics of their own on the real broker, and each database in turn."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.acceptance.topic import PARTITIONS, completions_of

from tidemill.testing.broker import KafkaBroker, require_jars
from tidemill.testing.network import CuttableNetwork, NetworkError, NetworkRefusedError
from tidemill.testing.postgres import PostgresServer, require_binaries


@pytest.fixture
def make_topic(kafka: str) -> Callable[[], Awaitable[str]]:
    """Makes a topic that nobody else uses, with another one for the completions of what comes from it."""

    async def make() -> str:
        return await _make_topic(kafka)

    return make


async def _make_topic(bootstrap_servers: str) -> str:
    topic = f"acceptance-{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        names = (topic, completions_of(topic))
        answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    finally:
        await admin.close()
    assert [error[1] for error in answer.topic_errors] == [0, 0]
    return topic


@pytest.fixture
async def mortal_broker(kafka: str, tmp_path: Path) -> AsyncIterator[tuple[KafkaBroker, str]]:
    """A broker of the test's own, and a topic on it (the session's fixture decides whether there can be one)."""
    broker = KafkaBroker(require_jars(), tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    try:
        yield broker, await _make_topic(broker.bootstrap_servers)
    finally:
        await asyncio.to_thread(broker.stop)


@pytest.fixture
def network() -> Iterator[CuttableNetwork]:
    """A network of the test's own. Skips where there can be none; when CI=true only the kernel may be the reason."""
    network = CuttableNetwork()
    try:
        network.__enter__()
    except NetworkRefusedError as error:
        pytest.skip(f"this machine permits no network namespaces: {error}")
    except NetworkError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a network that can be cut: {error}")
        pytest.skip(str(error))
    try:
        yield network
    finally:
        network.__exit__(None, None, None)


@pytest.fixture
def remote_postgres(postgres_server: PostgresServer, network: CuttableNetwork) -> Iterator[PostgresServer]:
    """A server at every address of `network` (the session's fixture decides whether there can be one)."""
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-postgres-", ignore_cleanup_errors=True) as folder,
        PostgresServer(require_binaries(), Path(folder), network=network) as server,
    ):
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def postgres(request: pytest.FixtureRequest) -> str | None:
    """The address of an empty PostgreSQL database; None where state is kept in SQLite. The test runs with both."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgres_url")
    return url
