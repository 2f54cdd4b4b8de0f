"""The log as sources that pull are given it: what does not follow its schema is a dead letter, once and in place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.project.door import Door, EventSchema
from tidemill.sources.checked import checked
from tidemill.storage.contract import Append, Appended, CursorMove, Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

DOOR = Door(
    [
        EventSchema(
            identity="urn:n",
            validator=jsonschema_rs.validator_for(
                {"properties": {"n": {"type": "integer"}}}, mask="the value"
            ),
            types=["number.came", "dev.tidemill.file.landed.v1", "dev.tidemill.source.gap.v1"],
        )
    ]
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "tidemill.db", clock=ManualClock())
    yield opened
    await opened.close()


def number(name: str, value: object, type: str = "number.came") -> Event:  # noqa: A002
    return Event(id=name, source="/numbers", type=type, data={"n": value})


async def test_unfit_events_become_dead_letters_beside_the_cursor_of_the_others(store: Store) -> None:
    log = checked(store.log, lambda: DOOR, clock=ManualClock())
    job = Append(
        events=[number("1", 1), number("2", "canary"), number("3", 3)],
        cursors=[CursorMove("kafka/x", None, "3")],
        refuse_reuse=False,
        stage="kafka",
        origin="numbers",
    )

    answers = await log.append(job)

    assert answers == [Appended(1), Appended(0), Appended(2)]
    assert await store.ledger.cursor("kafka/x") == "3"
    (letter,) = await store.dead_letters.list(stage="kafka", before=None, limit=9)
    assert (letter.code, letter.origin, letter.coordinates["id"]) == ("schema_violation", "numbers", "2")
    assert letter.coordinates["problems"][0]["attribute"] == "/data/n"
    assert "canary" not in letter.detail + str(letter.coordinates)
    assert orjson.loads(letter.body)["data"] == {"n": "canary"}
    with pytest.raises(CursorMoved):
        await log.append(job)
    assert len(await store.dead_letters.list(stage=None, before=None, limit=9)) == 1


async def test_events_of_our_own_are_not_asked_but_landed_files_are(store: Store) -> None:
    log = checked(store.log, lambda: DOOR, clock=ManualClock())

    answers = await log.append(
        Append(
            events=[
                number("1", "x", "dev.tidemill.source.gap.v1"),
                number("2", "x", "dev.tidemill.file.landed.v1"),
            ]
        )
    )

    assert [answer.position for answer in answers] == [1, 0]


async def test_log_is_the_log_in_everything_else(store: Store) -> None:
    doors = [Door()]
    log = checked(store.log, lambda: doors[0], clock=ManualClock())

    await log.append(Append(events=[number("1", "x")]))
    doors[0] = DOOR
    await log.append(Append(events=[number("2", "x")]))

    assert (log.head, log.overload()) == (1, None)
    assert [one.event.id for one in await log.read(0, 9)] == ["1"]
