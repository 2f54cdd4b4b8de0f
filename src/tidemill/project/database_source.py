"""Sources that read other databases, built from their entries."""

from __future__ import annotations

import re

from tidemill.events.lifecycle import Type
from tidemill.project.entry import Entry
from tidemill.project.model import PostgresSource, TableSource
from tidemill.project.secrets import build_secret, check_secret
from tidemill.project.trigger_file import PostgresForm, TableForm

__all__ = ["build_postgres", "build_table", "check_databases"]


def check_databases(entry: Entry) -> None:
    """Note what the form cannot say."""
    for kind in ("postgres", "table"):
        check_secret(entry, f"/{kind}/url", entry.get(kind, "url"))
    if entry.get("table", "outbox") is True:
        for name in ("column", "overlap", "start"):
            if entry.get("table", name) is not None:
                entry.problem(f"/table/{name}", "an outbox is read in any order and emptied; remove it")


def build_postgres(entry: Entry, form: PostgresForm) -> PostgresSource:
    """The source of an entry that is right."""
    slot = form.slot or "tidemill_" + re.sub(r"[^a-z0-9_]", "_", entry.name.lower())[:54]
    return PostgresSource(
        name=entry.name,
        url=build_secret(form.url),
        tables=tuple(form.tables),
        operations=tuple(form.operations),
        slot=slot,
        publication=form.publication or slot,
        event_type=form.type,
        event_source=form.source or f"/tidemill/postgres/{entry.name}",
        every=form.every,
        file=entry.file,
        line=entry.line,
    )


def build_table(entry: Entry, form: TableForm) -> TableSource:
    """The source of an entry that is right."""
    return TableSource(
        name=entry.name,
        url=build_secret(form.url),
        table=form.table,
        key=form.key,
        column=form.column or form.key,
        is_outbox=form.outbox,
        from_beginning=form.start == "beginning",
        overlap=form.overlap,
        batch=form.batch,
        event_type=form.type or Type.ROW_READ.value,
        event_source=form.source or f"/tidemill/tables/{entry.name}",
        every=form.every,
        file=entry.file,
        line=entry.line,
    )
