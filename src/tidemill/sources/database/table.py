"""Reading a table of any database that SQLAlchemy speaks to, in the order of a column that only grows. It blocks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tidemill.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

__all__ = ["Place", "Row", "TableReader", "json_value"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where reading stands: the value of the column that grows, and of the key among rows with the same one."""

    value: Any
    key: Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row."""

    place: Place
    values: Mapping[str, Any]


class TableReader:
    """One table; every call blocks."""

    def __init__(self, url: str, table: str, *, column: str, key: str) -> None:
        """Raises `SettingsError` when the URL cannot be used here. Nothing is connected yet."""
        try:
            import sqlalchemy
        except ImportError as error:
            raise SettingsError("a table source needs an extra: pip install 'tidemill[database]'") from error
        self._sql = sqlalchemy
        try:
            self._engine: Engine = sqlalchemy.create_engine(
                url, pool_size=1, max_overflow=0, pool_pre_ping=True
            )
        except (
            sqlalchemy.exc.ArgumentError,
            sqlalchemy.exc.NoSuchModuleError,
            ImportError,
            ValueError,
        ) as error:
            # The cause is cut off: parsers repeat the part that they stumbled over, which may be of the password.
            raise SettingsError(f"the database's URL cannot be used: {type(error).__name__}") from None
        self._name = table
        self._column = column
        self._key = key
        self._table: Table | None = None

    def read(self, after: Place | None, limit: int, *, overlap: Any = None) -> list[Row]:
        """Up to `limit` rows behind `after` (None: from the beginning), in order.

        With `overlap` (a number or `timedelta`) rows are read again that lie up to so far before it.
        """
        sql, table = self._sql, self._reflected()
        column, key = table.c[self._column], table.c[self._key]
        wanted = sql.select(table).where(column.is_not(None)).order_by(column, key).limit(limit)
        if after is not None:
            if overlap:
                wanted = wanted.where(column >= after.value - overlap)
            else:
                wanted = wanted.where(
                    sql.or_(column > after.value, sql.and_(column == after.value, key > after.key))
                )
        with self._engine.connect() as connection:
            rows = connection.execute(wanted).mappings().all()
        return [self._row(dict(row)) for row in rows]

    def last(self) -> Place | None:
        """Where the table ends now; None when it is empty."""
        sql, table = self._sql, self._reflected()
        column, key = table.c[self._column], table.c[self._key]
        wanted = (
            sql.select(column, key).where(column.is_not(None)).order_by(column.desc(), key.desc()).limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else Place(row[0], row[1])

    def delete(self, keys: Sequence[Any]) -> None:
        """Delete rows by their keys; committed on return."""
        table = self._reflected()
        with self._engine.begin() as connection:
            connection.execute(self._sql.delete(table).where(table.c[self._key].in_(list(keys))))

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What is raised while the database cannot be asked."""
        # A driver that cannot read a value (a text in a column of times) says so with the last two.
        return (self._sql.exc.SQLAlchemyError, OSError, ValueError, TypeError)

    def _reflected(self) -> Table:
        if self._table is None:
            schema, _, name = self._name.rpartition(".")
            table = self._sql.Table(
                name, self._sql.MetaData(), schema=schema or None, autoload_with=self._engine
            )
            for column in (self._column, self._key):
                if column not in table.c:
                    raise self._sql.exc.InvalidRequestError(f"the table has no column {column!r}")
            self._table = table
        return self._table

    def _row(self, row: Mapping[str, Any]) -> Row:
        values = {
            str(name): json_value(value) for name, value in row.items()
        }  # names are of a kind of their own
        return Row(Place(row[self._column], row[self._key]), values)


def json_value(value: Any) -> Any:
    """A database's value as JSON: exact numbers and times as text, bytes in base64."""
    match value:
        case None | bool() | str() | float():
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 64 else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(bytes(value)).decode("ascii")
        case list() | tuple():
            return [json_value(one) for one in value]
        case dict():
            return {str(name): json_value(one) for name, one in value.items()}
        case _:
            return str(value)
