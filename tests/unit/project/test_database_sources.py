"""Sources that read other databases, as they are written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tidemill.errors import DefinitionError
from tidemill.project.load import load
from tidemill.project.model import PostgresSource, Secret, TableSource


@pytest.fixture
def sources(tmp_path: Path) -> Callable[[str], list[object]]:
    def read(text: str) -> list[object]:
        (tmp_path / "triggers").mkdir(exist_ok=True)
        (tmp_path / "triggers" / "s.yaml").write_text(text, "utf-8")
        return list(load(tmp_path).sources)

    return read


def test_postgres_source_has_names_of_its_own(sources: Callable[[str], list[object]]) -> None:
    (source,) = sources(
        "sources:\n  - {name: Shop-Orders, postgres: {url: {env: SHOP}, tables: [public.orders]}}\n"
    )

    assert isinstance(source, PostgresSource)
    assert (source.slot, source.publication) == ("tidemill_shop_orders", "tidemill_shop_orders")
    assert source.url == Secret(kind="env", place="SHOP")
    assert source.event_source == "/tidemill/postgres/Shop-Orders"
    assert source.operations == ("insert", "update", "delete", "truncate")
    assert source.every == timedelta(milliseconds=500)


def test_table_source_reads_by_its_key(sources: Callable[[str], list[object]]) -> None:
    (source,) = sources("sources:\n  - {name: s, table: {url: {file: url.txt}, table: orders, every: 1m}}\n")

    assert isinstance(source, TableSource)
    assert (source.key, source.column, source.from_beginning) == ("id", "id", True)
    assert (source.event_type, source.every) == ("dev.tidemill.row.read.v1", timedelta(minutes=1))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("table: {url: {env: X}, table: t, outbox: true, overlap: 3}", "an outbox is read in any order"),
        ("table: {url: {}, table: t}", "exactly one of env and file"),
        ("table: {url: {env: X, file: y}, table: t}", "exactly one of env and file"),
        ("postgres: {url: {env: X}, tables: []}", "tables"),
        ("postgres: {url: {env: X}, tables: [a.b.c]}", "tables"),
        ("postgres: {url: {env: X}, tables: [t], slot: Upper}", "slot"),
        ("postgres: {url: {env: X}, tables: [t], operations: [upsert]}", "operations"),
        ("postgres: {url: {env: X}, tables: [t], type: dev.tidemill.x}", "dev.tidemill."),
        ("postgres: {url: {env: X}, tables: [t]}, table: {url: {env: X}, table: t}", "exclude each other"),
    ],
)
def test_what_is_wrong_is_refused(sources: Callable[[str], list[object]], text: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        sources(f"sources:\n  - {{name: s, {text}}}\n")

    assert problem in str(refused.value)
