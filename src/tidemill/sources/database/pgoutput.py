"""What PostgreSQL's `pgoutput` plug-in says, protocol version 1, read into transactions. Pure.

Source: PostgreSQL documentation, "Logical Replication Message Formats". Values come as PostgreSQL's text and become
JSON: integers, floating point numbers, booleans and json as themselves, everything else as the text that it is
(numeric too: JSON's numbers would lose digits).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ["Change", "Decoder", "Transaction", "Undecodable", "lsn_number", "lsn_text"]

#: 2000-01-01, where PostgreSQL's time begins, in microseconds since the epoch.
_EPOCH_US = 946_684_800_000_000
_BOOLEAN = 16
_INTEGERS = frozenset({20, 21, 23, 26})
_FLOATS = frozenset({700, 701})
_JSON = frozenset({114, 3802})

JSONValue = Any


class Undecodable(Exception):  # noqa: N818 - what is wrong with a message
    """A message is not what the protocol says."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changed."""

    #: "insert", "update", "delete" or "truncate".
    operation: str
    schema: str
    table: str
    #: The row as it is now; None when it was deleted.
    row: Mapping[str, JSONValue] | None = None
    #: What the table's replica identity gives of the row as it was; None when it gives nothing.
    old: Mapping[str, JSONValue] | None = None
    #: Columns of the replica identity.
    key: Sequence[str] = ()
    #: Large values that did not change and are therefore not told.
    unchanged: Sequence[str] = ()


@dataclass(slots=True)
class Transaction:
    """One committed transaction."""

    xid: int
    #: When it was committed, microseconds since the epoch.
    committed_at: int
    #: Where its end is in the server's log.
    end: int = 0
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class _Relation:
    schema: str
    table: str
    columns: tuple[_Column, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.is_key)


class Decoder:
    """Reads messages in order; knows the relations that were told before."""

    def __init__(self) -> None:
        self._relations: dict[int, _Relation] = {}
        self._open: Transaction | None = None

    def take(self, message: bytes) -> Transaction | None:
        """One more message; the transaction when it is the end of one. Raises `Undecodable`."""
        try:
            return self._take(message)
        except (struct.error, IndexError, ValueError, KeyError) as error:
            raise Undecodable(f"message {message[:1]!r}: {error!r}") from error

    def _take(self, message: bytes) -> Transaction | None:
        read = _Bytes(message)
        match read.text(1):
            case "B":
                read.take(8)
                at = read.number(8) + _EPOCH_US
                self._open = Transaction(read.number(4), at)
            case "C":
                read.take(1 + 8)
                done, self._open = self._open, None
                if done is None:
                    raise Undecodable("a commit without a beginning")
                done.end = read.number(8)
                return done
            case "R":
                self._relation(read)
            case "I":
                self._insert(read)
            case "U":
                self._update(read)
            case "D":
                self._delete(read)
            case "T":
                self._truncate(read)
            case "O" | "Y" | "M":
                pass  # origin, type, message of an application: no rows
            case kind:
                raise Undecodable(f"a message of kind {kind!r} is not known")
        return None

    def _relation(self, read: _Bytes) -> None:
        oid = read.number(4)
        schema, table = read.name() or "pg_catalog", read.name()
        read.number(1)
        columns = []
        for _ in range(read.number(2)):
            is_key = bool(read.number(1) & 1)
            name = read.name()
            columns.append(_Column(name, read.number(4), is_key))
            read.number(4)
        self._relations[oid] = _Relation(schema, table, tuple(columns))

    def _insert(self, read: _Bytes) -> None:
        relation = self._relations[read.number(4)]
        read.text(1)
        row, _ = _tuple(read, relation)
        self._add("insert", relation, row=row)

    def _update(self, read: _Bytes) -> None:
        relation = self._relations[read.number(4)]
        old = None
        if (kind := read.text(1)) in "KO":
            old, _ = _tuple(read, relation, only_key=kind == "K")
            read.text(1)
        row, unchanged = _tuple(read, relation)
        self._add("update", relation, row=row, old=old, unchanged=unchanged)

    def _delete(self, read: _Bytes) -> None:
        relation = self._relations[read.number(4)]
        old, _ = _tuple(read, relation, only_key=read.text(1) == "K")
        self._add("delete", relation, old=old)

    def _truncate(self, read: _Bytes) -> None:
        count = read.number(4)
        read.number(1)
        for _ in range(count):
            self._add("truncate", self._relations[read.number(4)])

    def _add(
        self,
        operation: str,
        relation: _Relation,
        *,
        row: Mapping[str, JSONValue] | None = None,
        old: Mapping[str, JSONValue] | None = None,
        unchanged: Sequence[str] = (),
    ) -> None:
        if self._open is None:
            raise Undecodable("a change outside a transaction")
        self._open.changes.append(
            Change(operation, relation.schema, relation.table, row, old, relation.key, tuple(unchanged))
        )


class _Bytes:
    """A message that is being read."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = 0

    def take(self, size: int) -> bytes:
        part = self._message[self._at : self._at + size]
        if len(part) < size:
            raise IndexError("the message ends too early")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=False)

    def text(self, size: int) -> str:
        return self.take(size).decode("latin-1")

    def name(self) -> str:
        end = self._message.index(b"\0", self._at)
        name = self._message[self._at : end].decode("utf-8", "replace")
        self._at = end + 1
        return name


def _tuple(
    read: _Bytes, relation: _Relation, *, only_key: bool = False
) -> tuple[dict[str, JSONValue], list[str]]:
    """(values by column, columns whose value is not told)."""
    values: dict[str, JSONValue] = {}
    unchanged: list[str] = []
    count = read.number(2)
    for column in relation.columns[:count]:
        match read.text(1):
            case "n":
                value = None
            case "u":
                unchanged.append(column.name)
                continue
            case "t":
                value = _value(read.take(read.number(4)).decode("utf-8", "replace"), column.type)
            case kind:
                raise Undecodable(f"a value of kind {kind!r} is not known")
        if column.is_key or not only_key:
            values[column.name] = value
    return values, unchanged


def _value(text: str, kind: int) -> JSONValue:
    if kind == _BOOLEAN:
        return text == "t"
    if kind in _INTEGERS:
        return int(text)
    if kind in _FLOATS:
        number = float(text)
        return number if number - number == 0 else text  # JSON has no infinities and no NaN
    if kind in _JSON:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text  # numbers beyond what JSON readers keep exact
    return text


def lsn_number(text: str) -> int:
    """A place in the server's log, `X/Y` in hexadecimal, as a number."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(number: int) -> str:
    """A place in the server's log as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
