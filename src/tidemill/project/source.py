"""Builds the sources of a definition file, each kind in a module of its own."""

from __future__ import annotations

from pathlib import Path

from tidemill.project.attribute_templates import check_type
from tidemill.project.database_source import build_postgres, build_table, check_databases
from tidemill.project.entry import Entry
from tidemill.project.file_source import build_files, check_files
from tidemill.project.kafka_source import build_kafka, check_kafka
from tidemill.project.model import SourceSpec
from tidemill.project.plugin_source import build_plugin
from tidemill.project.schedule_source import build_schedule, check_schedule
from tidemill.project.structure import check_choice, check_structure
from tidemill.project.trigger_file import SourceEntry
from tidemill.project.webhook_source import build_webhook, check_webhook

__all__ = ["build_source"]

#: Posted events, and the schedules of DAGs.
_OUR_NAMES = frozenset({"http", "schedule"})


def build_source(entry: Entry, root: Path) -> SourceSpec | None:
    """The entry's source; None when something is wrong with it, with every problem noted."""
    before = len(entry.problems)
    form = check_structure(entry, SourceEntry)
    check_choice(entry, "webhook", "files", "kafka", "schedule", "postgres", "table", "plugin")
    templates = check_webhook(entry)
    if entry.name in _OUR_NAMES:
        entry.problem("/name", f"{entry.name!r} is a source that is always there; take another name")
    check_files(entry)
    check_schedule(entry)
    check_databases(entry)
    check_kafka(entry)
    for kind in ("files", "kafka", "schedule", "postgres", "table"):
        check_type(entry, f"/{kind}/type", entry.get(kind, "type"))
    if form is None or len(entry.problems) > before:
        return None
    if form.webhook is not None:
        return build_webhook(entry, form.webhook, templates)
    if form.files is not None:
        return build_files(entry, form.files, root)
    if form.kafka is not None:
        return build_kafka(entry, form.kafka)
    if form.schedule is not None:
        return build_schedule(entry, form.schedule)
    if form.postgres is not None:
        return build_postgres(entry, form.postgres)
    if form.table is not None:
        return build_table(entry, form.table)
    if form.plugin is not None:
        return build_plugin(entry, form.plugin)
    return None
