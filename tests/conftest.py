"""What every test may ask for: a real Kafka broker, a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import os
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


#: Names of threads that were still there when all tests were over, those of workers with the workers' own names.
_left_open: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a test has left something open that has a thread, such as a database: the process would not end."""
    found = [one.name for one in threading.enumerate() if not one.daemon and not _ends(one)]
    if hasattr(session.config, "workerinput"):
        session.config.workeroutput["left_open"] = found  # type: ignore[attr-defined]
        return
    _left_open.extend(found)
    if _left_open:
        print(f"\na test has left open: {_left_open}", flush=True)  # noqa: T201
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _ends(thread: threading.Thread) -> bool:
    """Whether it ends by itself: at once, or with the process, as those of executors do."""
    if thread is threading.main_thread() or thread in concurrent.futures.thread._threads_queues:
        return True
    thread.join(1.0)
    return not thread.is_alive()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker has left open; it cannot fail by itself."""
    _left_open.extend(
        f"{node.gateway.id}: {name}" for name in getattr(node, "workeroutput", {}).get("left_open", [])
    )


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End, failed, where a thread that was left open would keep the process for ever."""
    if _left_open and not hasattr(config, "workerinput"):
        sys.stdout.flush()
        os._exit(pytest.ExitCode.TESTS_FAILED)
