"""Histories as text: for messages of failed assertions, and for snapshots that stand beside a test.

In a snapshot nothing is left that another machine, another day or another seed would make different: moments are told
from the run's beginning, ids are numbered, folders and tracebacks are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from tidemill.clock import to_us
from tidemill.storage.contract import RunSummary

__all__ = ["compare_history", "describe", "normalise"]

History = Sequence[tuple[int, int, bytes]]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_FOLDER = re.compile(r"(?:/[\w.-]+)*/tidemill-[\w]{8}(?=/|\b)")
_TRACEBACK = "Traceback (most recent call last)"
#: Numbers from here on are moments in microseconds: the year 2001.
_FIRST_MOMENT = 1_000_000_000_000_000


def describe(summary: RunSummary, history: History) -> str:
    """A run and everything that happened in it, one line each, as in a message."""
    head = f"run {summary.run_id} of {summary.dag} is {summary.state} (by {summary.trigger})"
    begin = summary.queued_at
    lines = [f"  {_after(at, begin):>12}  {_line(values)}" for at, values in _records(history)]
    return "\n".join([head, *(lines or ["  (nothing has happened yet)"])])


def normalise(summary: RunSummary, history: History) -> str:
    """A run's history as a snapshot holds it: one line for each record, the moment first."""
    clean = _Cleaner(summary)
    lines = [f"run of {summary.dag} by {clean.text(summary.trigger)}: {summary.state}"]
    lines.append(f"parameters {_json(clean.value(orjson.loads(summary.parameters)))}")
    for at, values in _records(history):
        kind, *rest = values
        lines.append(
            f"{_after(at, summary.queued_at)} {kind} {' '.join(_json(clean.value(one)) for one in rest)}".rstrip()
        )
    return "\n".join(lines) + "\n"


def compare_history(summary: RunSummary, history: History, file: Path, *, update: bool = False) -> None:
    """Hold a run's history to the snapshot in `file`; `update` writes it. Raises `AssertionError` where they differ."""
    text = normalise(summary, history)
    if update:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    if not file.exists():
        raise AssertionError(f"there is no {file}; --tidemill-update writes it:\n{text}")
    kept = file.read_text(encoding="utf-8")
    if text != kept:
        import difflib

        lines = difflib.unified_diff(
            kept.splitlines(keepends=True), text.splitlines(keepends=True), str(file), "this run"
        )
        raise AssertionError(
            "the history is another one; --tidemill-update accepts it:\n" + "".join(lines).rstrip("\n")
        )


def _records(history: History) -> Iterator[tuple[int, list[Any]]]:
    for _, at, body in history:
        for values in orjson.loads(body):
            yield at, values


def _line(values: list[Any]) -> str:
    """One record as people read it: its name, what it is about, and why."""
    kind, *rest = values
    return " ".join([str(kind), *(_short(one) for one in rest)])


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(one, str) for one in value):
        return f"{value[0]}: {value[1]}"  # why an attempt failed; its traceback is long
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _after(at: int, begin: int) -> str:
    return f"+{(at - begin) / 1_000_000:.6f}".rstrip("0").rstrip(".") + "s"


class _Cleaner:
    """Takes away what is different each time."""

    def __init__(self, summary: RunSummary) -> None:
        self._begin = summary.queued_at
        self._names = {summary.run_id: "<run>"}

    def value(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case bool():
                return value
            case int() if value >= _FIRST_MOMENT:
                return f"<{_after(value, self._begin)}>"
            case list():
                return [self.value(one) for one in value]
            case dict():
                return {key: self.value(one) for key, one in value.items()}
            case _:
                return value

    def text(self, text: str) -> str:
        if text.startswith(_TRACEBACK):
            return "<traceback>"
        text = _UUID.sub(lambda found: self._name(found[0]), text)
        text = _FOLDER.sub("<folder>", text)
        return _MOMENT.sub(lambda found: self._moment(found[0]), text)

    def _name(self, identity: str) -> str:
        return self._names.setdefault(identity, f"<id {len(self._names)}>")

    def _moment(self, text: str) -> str:
        from datetime import datetime

        return f"<{_after(to_us(datetime.fromisoformat(text)), self._begin)}>"
