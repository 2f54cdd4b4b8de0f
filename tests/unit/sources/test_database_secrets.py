"""A database's URL holds a password: no error and no description shows any of it."""

from __future__ import annotations

import sqlite3
import traceback
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import SettingsError
from tidemill.project.model import PostgresSource, TableSource
from tidemill.sources.database.polling import PollingStage, told
from tidemill.sources.database.replication import ReplicationStage
from tidemill.sources.database.slot import LOST, Slot
from tidemill.sources.database.table import TableReader

CANARY = "CANARY"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:CANARY/x@h/db",
        "postgresql://u:x@h:CANARY/db",
        "postgresql+nodriver://u:CANARY@h/db",
        "nodialect://u:CANARY@h/db",
        "sqlite://u:CANARY@h/db",
        "CANARY",
    ],
)
def test_url_that_cannot_be_used_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        TableReader(url, "t", column="id", key="id")

    assert CANARY not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:CANARY/x@h/db",
        "postgresql://u:x@h:CANARY/db",
        "postgresql://u:CA[CANARY@h/db",
        "CANARY://u:x@h/db",
    ],
)
async def test_url_that_cannot_be_followed_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(LOST) as refused:
        await Slot.connect(url, "slot", "publication")

    assert CANARY not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(("kind", "stage"), [(TableSource, PollingStage), (PostgresSource, ReplicationStage)])
def test_description_of_a_source_shows_no_url(kind: Any, stage: Any) -> None:
    spec = kind(**{each.name: "x" for each in fields(kind)})
    source = stage(spec, f"sqlite:///{CANARY}", None, None, clock=None)

    assert CANARY not in repr(source)
    assert CANARY not in repr(source.status())
    assert CANARY not in repr(spec)


def test_value_that_a_driver_cannot_read_stalls_the_source_and_is_not_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME)")
        connection.execute("INSERT INTO t VALUES (1, 'CANARY')")
    connection.close()
    reader = TableReader(f"sqlite:///{tmp_path}/rows.db", "t", column="id", key="id")

    with pytest.raises(reader.failures) as failed:
        reader.read(None, 10)

    assert told(failed.value).endswith("cannot be read")
    assert CANARY not in told(failed.value)
    reader.close()
