"""Remarks as GitHub's workflow commands: shown beside the lines of a pull request."""

from __future__ import annotations

from pathlib import Path

from tidemill.project.remarks import Remark, Severity

__all__ = ["annotation"]

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def annotation(remark: Remark, prefix: Path) -> str:
    """One line that GitHub understands; `prefix` leads from the repository to the project."""
    properties = {"title": f"tidemill {remark.rule}"}
    if remark.file:
        properties["file"] = (prefix / remark.file).as_posix()
    if remark.line:
        properties["line"] = str(remark.line)
    if remark.column:
        properties["col"] = str(remark.column)
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[remark.severity]} {told}::{_data(remark.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
