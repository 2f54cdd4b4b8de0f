"""Builds sources of kinds that installed packages bring; their own model checks what is written for them."""

from __future__ import annotations

from tidemill.project.entry import Entry
from tidemill.project.model import PluginSource
from tidemill.project.plugins import PluginProblem, load_source_plugin
from tidemill.project.structure import check_structure
from tidemill.project.trigger_file import PluginForm

__all__ = ["build_plugin"]


def build_plugin(entry: Entry, form: PluginForm) -> PluginSource | None:
    """The entry's source; None when its kind or its configuration is wrong, with every problem noted."""
    try:
        plugin = load_source_plugin(form.kind)
    except PluginProblem as problem:
        entry.problem("/plugin/kind", str(problem))
        return None
    at = entry.pointer + "/plugin/config"
    inner = Entry(entry.file, entry.text, at, entry.get("plugin", "config") or {}, entry.problems)
    config = check_structure(inner, plugin.model)
    if config is None:
        return None
    return PluginSource(
        name=entry.name, kind=form.kind, plugin=plugin, config=config, file=entry.file, line=entry.line
    )
