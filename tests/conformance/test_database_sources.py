"""Sources that read other databases against the source conformance suite, and what is special about each."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conformance.databases import opened
from tests.conformance.sources import (
    BadInput,
    HurriedClock,
    SourceAdapter,
    SourceConformance,
    logged,
    running,
    until,
)

from tidemill.clock import Clock
from tidemill.events.event import Event
from tidemill.project.model import PostgresSource, Secret, TableSource
from tidemill.sources.contract import Source, SourceState
from tidemill.sources.database.polling import PollingStage
from tidemill.sources.database.replication import ReplicationStage
from tidemill.storage.contract import EventLog, Ledger, Store
from tidemill.testing.postgres import PostgresServer

#: Sources are given their addresses; where a secret is found is the service's to know.
NOWHERE = Secret(kind="env", place="NOWHERE")

# ── tables that are asked ─────────────────────────────────────────────────────────────────────────────────


class TableAdapter:
    """A SQLite table into which rows are inserted."""

    keeps_bad_input = False

    def __init__(self, path: Path, *, is_outbox: bool, overlap: float = 0) -> None:
        self.path = path
        self.is_outbox = is_outbox
        self.overlap = overlap
        self.run("CREATE TABLE orders (number INTEGER PRIMARY KEY, name TEXT, amount NUMERIC, paid BLOB)")

    def run(self, statement: str, *values: Any) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            return list(connection.execute(statement, values))

    def build(self, log: EventLog, ledger: Ledger, clock: Clock) -> Source:
        spec = TableSource(
            name="orders",
            url=NOWHERE,
            table="orders",
            column="number",
            key="number",
            is_outbox=self.is_outbox,
            from_beginning=True,
            overlap=self.overlap,
            event_type="com.example.order",
            event_source="/shop",
            every=timedelta(seconds=1),
            batch=4,
        )
        return PollingStage(spec, f"sqlite:///{self.path}", log, ledger, clock=clock)

    async def put(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.run("INSERT INTO orders (name, amount) VALUES (?, 1.5)", key)

    async def put_bad(self) -> BadInput:
        raise NotImplementedError

    def key_of(self, event: Event) -> str:
        return str(event.data["row"]["name"])

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        cursor = await ledger.cursor("table/orders")
        upto = 0 if cursor is None else int(cursor.strip("[]").split(",")[0])
        return {row[0] for row in self.run("SELECT name FROM orders WHERE number <= ?", upto)}


class OutboxAdapter(TableAdapter):
    """The same table as an outbox: remembers what was put, because the source deletes it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, is_outbox=True)
        self._made: set[str] = set()
        self._number = 0

    async def put(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._number += 1  # an outbox's key is never used again
            self.run("INSERT INTO orders (number, name, amount) VALUES (?, ?, 1.5)", self._number, key)
            self._made.add(key)

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        return self._made - {row[0] for row in self.run("SELECT name FROM orders")}


class TestTable(SourceConformance):
    """A table read by a column that grows."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> SourceAdapter:
        return TableAdapter(tmp_path / "shop.db", is_outbox=False)


class TestTableWithOverlap(SourceConformance):
    """The same, reading back a little each time."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> SourceAdapter:
        return TableAdapter(tmp_path / "shop.db", is_outbox=False, overlap=3)


class TestOutbox(SourceConformance):
    """An outbox that is emptied."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> SourceAdapter:
        return OutboxAdapter(tmp_path / "shop.db")


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────


class Shop:
    """A database of somebody else's, with one table."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = "s" + uuid.uuid4().hex[:12]

    async def run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def ask(self, statement: str) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def stage(self, log: EventLog, ledger: Ledger, clock: Clock, *, url: str = "", **members: Any) -> Source:
        """A source that follows this database, or the one at `url`."""
        given = {
            "name": "shop",
            "url": NOWHERE,
            "tables": ["public.orders"],
            "operations": ["insert", "update", "delete", "truncate"],
            "slot": self.name,
            "publication": self.name,
            "event_type": None,
            "event_source": "/shop",
            "every": timedelta(seconds=1),
        }
        spec = PostgresSource(**{**given, **members})
        return ReplicationStage(spec, url or self.url, log, ledger, clock=clock)


@pytest.fixture
def shop(postgres_server: PostgresServer) -> Iterator[Shop]:
    name = f"shop_{uuid.uuid4().hex}"
    shop = Shop(postgres_server.create_database(name))
    postgres_server.run(
        "CREATE TABLE orders (number int PRIMARY KEY, name text, amount numeric, paid bool, extra jsonb)",
        name,
    )
    yield shop
    postgres_server.run(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
        f" WHERE slot_name = '{shop.name}' AND active_pid IS NOT NULL"
    )
    postgres_server.run(
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{shop.name}'",
        name,
    )
    postgres_server.run(f'DROP DATABASE "{name}" WITH (FORCE)')


class ReplicationAdapter:
    """A PostgreSQL table that is followed; publication and slot are there, as after a first run."""

    keeps_bad_input = False

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.put_keys: list[str] = []

    def build(self, log: EventLog, ledger: Ledger, clock: Clock) -> Source:
        return self.shop.stage(log, ledger, clock)

    async def put(self, keys: Sequence[str]) -> None:
        connection = await asyncpg.connect(self.shop.url)
        for key in keys:
            self.put_keys.append(key)
            await connection.execute(
                "INSERT INTO orders (number, name) VALUES ($1, $2)", len(self.put_keys), key
            )
        await connection.close()

    async def put_bad(self) -> BadInput:
        raise NotImplementedError

    def key_of(self, event: Event) -> str:
        return str(event.data["row"]["name"])

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        """What the server will not tell again."""
        left = await self.shop.ask(
            f"SELECT count(*) FROM pg_logical_slot_peek_binary_changes('{self.shop.name}', NULL, NULL,"
            f" 'proto_version', '1', 'publication_names', '{self.shop.name}') WHERE get_byte(data, 0) = 73"
        )
        return set(self.put_keys[: len(self.put_keys) - left])


@pytest.mark.postgres
class TestReplication(SourceConformance):
    """PostgreSQL's logical replication."""

    @pytest.fixture
    async def adapter(self, shop: Shop) -> SourceAdapter:
        await shop.run(
            f"CREATE PUBLICATION {shop.name} FOR TABLE orders",
            f"SELECT pg_create_logical_replication_slot('{shop.name}', 'pgoutput')",
        )
        return ReplicationAdapter(shop)


@pytest.fixture
def clock() -> HurriedClock:
    return HurriedClock()


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: HurriedClock) -> AsyncIterator[Store]:
    request.param = "sqlite"
    async with opened(request, tmp_path, clock) as store:
        yield store


@pytest.mark.postgres
async def test_changes_are_told_with_their_values(shop: Shop, store: Store, clock: HurriedClock) -> None:
    source = shop.stage(store.log, store.ledger, clock)
    async with running(source):
        await until(lambda: source.status().state is SourceState.LIVE)
        await shop.run(
            "INSERT INTO orders VALUES (1, 'Zoë', 12.50, true, '{\"a\": [1]}')",
            "UPDATE orders SET amount = NULL WHERE number = 1",
            "ALTER TABLE orders ADD COLUMN note text DEFAULT 'x'",
            "UPDATE orders SET number = 2 WHERE number = 1",
            "DELETE FROM orders WHERE number = 2",
            "TRUNCATE orders",
        )
        events = [entry.event for entry in await logged(store.log, 5)]

    assert [event.type.split(".")[2:4] for event in events] == [
        ["row", "inserted"],
        ["row", "updated"],
        ["row", "updated"],
        ["row", "deleted"],
        ["table", "truncated"],
    ]
    assert events[0].data["row"] == {
        "number": 1,
        "name": "Zoë",
        "amount": "12.50",
        "paid": True,
        "extra": {"a": [1]},
    }
    assert (events[0].source, events[0].subject) == ("/shop", "public.orders/1")
    assert events[1].data["row"]["amount"] is None
    assert (events[2].data["old"], events[2].data["row"]["note"]) == ({"number": 1}, "x")
    assert (events[3].data["old"], events[3].data["row"]) == ({"number": 2}, None)
    assert len({event.id for event in events}) == 5


@pytest.mark.postgres
async def test_a_transaction_comes_whole_and_a_rolled_back_one_not_at_all(
    shop: Shop, store: Store, clock: HurriedClock
) -> None:
    source = shop.stage(store.log, store.ledger, clock)
    async with running(source):
        await until(lambda: source.status().state is SourceState.LIVE)
        await shop.run(
            "BEGIN; INSERT INTO orders (number) VALUES (1); ROLLBACK",
            "INSERT INTO orders (number) SELECT generate_series(10, 1509)",
        )
        events = [entry.event for entry in await logged(store.log, 1500)]

    assert [event.data["row"]["number"] for event in events] == list(range(10, 1510))
    assert len({event.data["xid"] for event in events}) == 1


@pytest.mark.postgres
async def test_only_the_operations_that_were_asked_for_are_told(
    shop: Shop, store: Store, clock: HurriedClock
) -> None:
    source = shop.stage(
        store.log, store.ledger, clock, operations=["delete"], event_type="com.example.order.gone"
    )
    async with running(source):
        await until(lambda: source.status().state is SourceState.LIVE)
        await shop.run("INSERT INTO orders (number) VALUES (1)", "DELETE FROM orders")
        (entry,) = await logged(store.log, 1)

    assert (entry.event.type, entry.event.data["operation"]) == ("com.example.order.gone", "delete")


@pytest.mark.postgres
async def test_a_lost_slot_is_a_gap_event_and_following_goes_on(
    shop: Shop, store: Store, clock: HurriedClock
) -> None:
    source = shop.stage(store.log, store.ledger, clock)
    async with running(source):
        await until(lambda: source.status().state is SourceState.LIVE)
        await shop.run("INSERT INTO orders (number) VALUES (1)")
        await logged(store.log, 1)
    await shop.run(f"SELECT pg_drop_replication_slot('{shop.name}')")

    async with running(source):
        await logged(store.log, 2)
        await until(lambda: source.status().state is SourceState.LIVE)
        await shop.run("INSERT INTO orders (number) VALUES (2)")
        events = [entry.event for entry in await logged(store.log, 3)]

    assert events[1].type == "dev.tidemill.source.gap.v1"
    assert events[1].data["reason"] == "slot_missing"
    assert events[2].data["row"]["number"] == 2


@pytest.mark.postgres
async def test_other_tables_do_not_keep_the_servers_log(
    shop: Shop, store: Store, clock: HurriedClock
) -> None:
    await shop.run("CREATE TABLE noise (text text)")
    source = shop.stage(store.log, store.ledger, clock)
    lag = (
        "SELECT pg_current_wal_lsn() - confirmed_flush_lsn FROM pg_replication_slots"
        f" WHERE slot_name = '{shop.name}'"
    )
    async with running(source):
        await until(lambda: source.status().state is SourceState.LIVE)
        await shop.run("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
        async with asyncio.timeout(20):
            while await shop.ask(lag) > 2 << 20:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)

    assert store.log.head == 0


@pytest.mark.postgres
async def test_an_unreachable_database_stalls_the_source_without_its_password(
    store: Store, clock: HurriedClock, shop: Shop
) -> None:
    source = shop.stage(store.log, store.ledger, clock, url="postgresql://somebody:hush@127.0.0.1:1/none")

    async with running(source):
        await until(lambda: source.status().state is SourceState.STALLED)
        error = source.status().error

    assert error
    assert "hush" not in error


async def test_rows_that_are_committed_late_are_found_within_the_overlap(
    tmp_path: Path, store: Store, clock: HurriedClock
) -> None:
    adapter = TableAdapter(tmp_path / "shop.db", is_outbox=False, overlap=5)
    source = adapter.build(store.log, store.ledger, clock)
    async with running(source):
        adapter.run("INSERT INTO orders (number, name) VALUES (10, 'ten')")
        await logged(store.log, 1)
        adapter.run("INSERT INTO orders (number, name) VALUES (7, 'late'), (2, 'too late')")
        await logged(store.log, 2)
        adapter.run("INSERT INTO orders (number, name) VALUES (11, 'eleven')")
        events = await logged(store.log, 3)

    assert [adapter.key_of(entry.event) for entry in events] == ["ten", "late", "eleven"]


async def test_a_table_without_the_column_stalls_with_the_reason(
    tmp_path: Path, store: Store, clock: HurriedClock
) -> None:
    adapter = TableAdapter(tmp_path / "shop.db", is_outbox=False)
    adapter.run("ALTER TABLE orders RENAME COLUMN number TO other")
    source = adapter.build(store.log, store.ledger, clock)

    async with running(source):
        await until(lambda: source.status().state is SourceState.STALLED)

        assert "no column 'number'" in source.status().error
