"""Evidence that can be falsified, for the tests of the checker."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.acceptance.checker import check
from tests.acceptance.evidence import read_evidence, read_lines
from tests.acceptance.scene import EXPECTED, SECRET

__all__ = ["Case"]

Lines = list[Any]


class Case:
    """A copy of the evidence below `good`, in `folder`."""

    def __init__(self, good: Path, folder: Path) -> None:
        self.folder = folder
        (folder / "project").mkdir(parents=True)
        shutil.copytree(good / "project" / ".tidemill", folder / "project" / ".tidemill")
        for path in good.glob("*.jsonl"):
            shutil.copy(path, folder)
        self._deliver_to_topic()

    def _deliver_to_topic(self) -> None:
        """What a broker would have got, had there been one."""
        columns = "position, state, attempts, due_at, detail"
        self.change(
            f"INSERT INTO deliveries (subscription, {columns})"
            f" SELECT 'topic', {columns} FROM deliveries WHERE subscription = 'completions'"
        )
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            rows = database.execute(
                "SELECT source, body FROM events JOIN deliveries USING (position) WHERE subscription = 'topic'"
            ).fetchall()
        lines = [{"source": source, "id": json.loads(body)["id"]} for source, body in rows]
        (self.folder / "topic.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    @property
    def database(self) -> Path:
        return self.folder / "project" / ".tidemill" / "tidemill.db"

    def codes(self) -> set[str]:
        """Codes of what the checker finds."""
        return {found.code for found in check(read_evidence(self.folder, EXPECTED), secret=SECRET)}

    def ask(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            row = database.execute(query, values).fetchone()
        assert row is not None, f"the good evidence has nothing for {query}"
        return row[0]

    def change(self, statement: str, *values: Any) -> None:
        """Change something; a statement that changes nothing is a mistake in the test."""
        with contextlib.closing(sqlite3.connect(self.database)) as database, database:
            assert database.execute(statement, values).rowcount > 0, statement

    def edit(self, table: str, where: str, old: str, new: str) -> None:
        """Replace `old` by `new` in the stored bodies of rows of `table`."""
        self.change(
            f"UPDATE {table} SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)"
            f" WHERE {where} AND instr(CAST(body AS TEXT), ?)",
            old,
            new,
            old,
        )

    def rewrite(self, name: str, change: Callable[[Lines], Lines]) -> None:
        """Replace the lines of one file."""
        path = self.folder / f"{name}.jsonl"
        before = [dict(line) for line in read_lines(path)]
        after = change([dict(line) for line in before])
        assert after != before, f"nothing was changed in {name}"
        path.write_text("".join(json.dumps(line) + "\n" for line in after), "utf-8")

    def log(self, **attributes: Any) -> int:
        """Append an event that no trigger matches, seen by the stream's reader; its position."""
        event = {"specversion": "1.0", "type": "com.example.nothing", **attributes}
        position: int = self.ask("SELECT max(position) FROM events") + 1
        self.change(
            "INSERT INTO events (position, key, digest, received_at, type, source, body) VALUES (?, ?, ?, 0, ?, ?, ?)",
            position,
            f"key {position}".encode(),
            b"",
            event["type"],
            event["source"],
            json.dumps(event).encode(),
        )
        seen = {"position": position, **{name: event[name] for name in ("type", "source", "id")}}
        self.rewrite("stream", lambda lines: [*lines, seen])
        return position

    def tell_again(self, kind: str) -> int:
        """A replay of one event of that type, to a trigger that takes nothing of it; the position it is told at."""
        original = self.ask("SELECT position FROM events WHERE type = ?", kind)
        body = json.loads(self.ask("SELECT body FROM events WHERE position = ?", original))
        told = {
            name: value
            for name, value in body.items()
            if name not in ("correlationid", "causationid", "hopcount")
        }
        marks = {"replayid": "r", "replayof": str(original), "replayto": "poison"}
        order = {
            "what": "replay",
            "id": "r",
            "after": original - 1,
            "until": original,
            "triggers": ["poison"],
        }
        self.rewrite("sent", lambda lines: [*lines, order])
        position = self.log(**{**told, **marks, "id": f"{told['id']}/replay/r"})
        self.change("UPDATE cursors SET value = ? WHERE name = 'router'", str(position))
        return position

    def produce(self, offset: int, form: str) -> int:
        """A Kafka record with the event or dead letter that it became; the event's position (0: none)."""
        record = {"what": "record", "topic": "t", "partition": 0, "offset": offset, "form": form}
        record |= {"source": "/acceptance/kafka", "id": f"record-{offset}"}
        self.rewrite("sent", lambda lines: [*lines, record])
        if form == "broken":
            self.bury(offset)
            return 0
        plain = {"source": "/kafka/cluster/t", "id": f"t/0/{offset}"}
        return self.log(**(plain if form == "plain" else {"source": record["source"], "id": record["id"]}))

    def bury(self, offset: int) -> None:
        """A dead letter for a Kafka record."""
        where = json.dumps({"topic": "t", "partition": 0, "offset": offset})
        self.change(
            "INSERT INTO dead_letters (id, at, stage, code, detail, origin, coordinates, body)"
            " VALUES (hex(randomblob(8)), 0, 'kafka', 'invalid_json', '', 'readings', ?, x'')",
            where,
        )
