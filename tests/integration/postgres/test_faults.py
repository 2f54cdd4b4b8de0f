"""What goes wrong at one place of a node stays there: the writer goes on, the others are not touched."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import asyncpg
import pytest
from tests.integration.postgres.conftest import Opener

from tidemill.clock import SystemClock
from tidemill.errors import DiskFull, SettingsError
from tidemill.events.event import Event
from tidemill.storage.contract import Append, EventFilter, FileVersion
from tidemill.storage.postgres import notices, open_store
from tidemill.storage.sqlite import open_store as open_sqlite
from tidemill.storage.transfer import transfer
from tidemill.testing.postgres import PostgresServer

pytestmark = pytest.mark.postgres

_PATIENCE = 20


def _event(number: int, data: object = None) -> Event:
    return Event(id=str(number), source="/s", type="t", subject=f"s{number}", data=data)


async def test_a_mistake_in_a_call_is_told_to_its_caller_and_the_writer_goes_on(open_node: Opener) -> None:
    store = await open_node()

    async def mistaken(connection: asyncpg.Connection) -> None:
        raise KeyError("not there")

    async with asyncio.timeout(_PATIENCE):
        with pytest.raises(KeyError):
            await store._writer.call(mistaken)
        (answer,) = await store.log.append(Append(events=[_event(1)]))

    assert answer.position == 1


async def test_a_transaction_that_a_call_left_open_ends_with_its_session(open_node: Opener) -> None:
    store = await open_node()

    async def careless(connection: asyncpg.Connection) -> None:
        await connection.execute("BEGIN")
        raise KeyError("not there")

    with pytest.raises(KeyError):
        await store._writer.call(careless)
    async with asyncio.timeout(_PATIENCE):
        (answer,) = await store.log.append(Append(events=[_event(1)]))

    other = await open_node()
    assert (answer.position, other.log.head) == (1, 1)


async def test_one_file_version_that_two_nodes_announce_at_once_is_kept_once(open_node: Opener) -> None:
    nodes = [await open_node() for _ in range(2)]
    for number in range(60):
        version = FileVersion("inbox", f"{number}.csv", number, 1, 1, "digest")
        job = Append(events=[_event(number)], files=[version])

        answers = await asyncio.gather(*(node.log.append(job) for node in nodes))

        assert sorted(answer.duplicate for (answer,) in answers) == [False, True]
    assert len([version async for version in nodes[0].ledger.files("inbox")]) == 60


async def test_a_full_disk_fails_the_commit_once_and_not_job_by_job(postgres_url: str) -> None:
    commits = 0

    def full(point: str) -> None:
        nonlocal commits
        if point == "append.before_commit":
            commits += 1
            raise asyncpg.DiskFullError("no space left on device")

    store = await open_store(postgres_url, clock=SystemClock(), probe=full)

    answers = await asyncio.gather(
        *(store.log.append(Append(events=[_event(number)])) for number in range(20)), return_exceptions=True
    )
    await store.close()

    assert {type(answer) for answer in answers} == {DiskFull}
    assert commits <= 2


async def test_positions_are_given_one_by_one_whatever_isolation_the_database_prefers(
    postgres_server: PostgresServer, postgres_url: str, open_node: Opener
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.run(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")
    nodes = [await open_node() for _ in range(6)]

    async def append_many(place: int) -> list[int]:
        answers = [await nodes[place].log.append(Append(events=[_event(place * 100 + n)])) for n in range(60)]
        return [answer.position for (answer,) in answers]

    positions = await asyncio.gather(*map(append_many, range(6)))

    assert sorted(position for found in positions for position in found) == list(range(1, 361))


async def test_a_listener_that_was_cut_without_a_word_is_replaced(
    open_node: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_ANSWER_SECONDS", 0.2)
    store = await open_node()
    async with asyncio.timeout(_PATIENCE):
        while (first := store._notices._connection) is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        silent = first.get_server_pid()
        os.kill(silent, signal.SIGSTOP)

        try:
            while store._notices._connection is first:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        finally:
            os.kill(silent, signal.SIGCONT)


@pytest.mark.parametrize("text", ["nul \0 in data", "\0\0", "\\\0", "\\u0000", "\\\\u0000\0"])
async def test_events_are_found_by_id_and_subject_beside_data_that_holds_nul(
    open_node: Opener, text: str
) -> None:
    store = await open_node()
    await store.log.append(Append(events=[_event(1, data={text: [text]}), _event(2)]))

    found = await store.log.list(EventFilter(id="1", subject="s1"), before=None, limit=9)

    assert [logged.event for logged in found] == [_event(1, data={text: [text]})]


async def test_what_is_asked_for_with_nul_is_not_there(open_node: Opener) -> None:
    store = await open_node()

    assert await store.runs.get("run\0") is None
    assert await store.log.list(EventFilter(type="a\0"), before=None, limit=9) == []


async def test_transfer_leaves_a_database_alone_that_was_copied_into_and_served(
    tmp_path: Path, open_node: Opener, postgres_url: str
) -> None:
    source = tmp_path / "odd?name" / "t.db"
    closed = await open_sqlite(source, clock=SystemClock())
    await closed.log.append(Append(events=[_event(number) for number in range(5)]))
    await closed.close()
    await transfer(source, postgres_url, project="tidemill")
    store = await open_node()
    await store.log.append(Append(events=[_event(100)]))

    with pytest.raises(SettingsError, match="is complete"):
        await transfer(source, postgres_url, project="tidemill")

    (answer,) = await store.log.append(Append(events=[_event(101)]))
    assert answer.position == 7


async def test_transfer_refuses_a_database_that_a_node_works_on(
    tmp_path: Path, open_node: Opener, postgres_url: str
) -> None:
    closed = await open_sqlite(tmp_path / "t.db", clock=SystemClock())
    await closed.close()
    store = await open_node()
    await store.membership.join("one", "", timeout_seconds=4, load=dict, busy=frozenset)

    with pytest.raises(SettingsError, match="node one works on it"):
        await transfer(tmp_path / "t.db", postgres_url, project="tidemill")
