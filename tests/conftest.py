"""What every test may ask for: a real Kafka broker, a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.clock import SystemClock
from tidemill.testing.broker import BrokerError, KafkaBroker, require_jars
from tidemill.testing.postgres import PostgresError, PostgresServer, require_binaries


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One real broker for the whole session; skips without Java or jars, and fails there when CI=true."""
    try:
        jars = require_jars()
    except BrokerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a Kafka broker: {error}")
        pytest.skip(str(error))
    with KafkaBroker(jars, tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(kafka_broker: KafkaBroker) -> str:
    """Bootstrap servers of the session's broker."""
    return kafka_broker.bootstrap_servers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One real server for the whole session; skips where none is installed, and fails there when CI=true."""
    try:
        binaries = require_binaries()
    except PostgresError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a PostgreSQL server: {error}")
        pytest.skip(str(error))
    # Not below pytest's own folders: the server runs as a user of its own, which may not enter them.
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-postgres-", ignore_cleanup_errors=True) as folder,
        PostgresServer(binaries, Path(folder), options=("wal_level=logical",)) as server,
    ):
        url = server.create_database("migrated")
        # In a thread: whoever asks for the server may have an event loop running here.
        worker = threading.Thread(target=lambda: asyncio.run(_migrate(url)))
        worker.start()
        worker.join()
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of its own, migrated and empty."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name, template="migrated")
    postgres_server.run(f'DROP DATABASE "{name}" WITH (FORCE)')


async def _migrate(url: str) -> None:
    from tidemill.storage.postgres import open_store

    store = await open_store(url, clock=SystemClock())
    await store.close()


_status: list[int] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the tests went, for `pytest_unconfigure`."""
    _status.append(int(exitstatus))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A database that a failed test left open has a thread of its own, which must not keep the process for ever."""
    left = [one for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
    if left and _status and not hasattr(config, "workerinput"):
        print(f"\nleft open: {[one.name for one in left]}", flush=True)  # noqa: T201
        os._exit(_status[-1])
