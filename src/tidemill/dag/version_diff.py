"""What changed between two versions of a DAG, from their descriptions; as text for reviews. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Change", "changes", "source_diff"]

Kind = Literal["added", "removed", "changed"]
_MARKS: dict[str, str] = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was."""

    kind: Kind
    #: `option`, `parameter`, `task` or `edge`.
    what: str
    name: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        told = f"{_MARKS[self.kind]} {self.what} {self.name}"
        match self.kind:
            case "added":
                return f"{told}: {self.after}" if self.after else told
            case "removed":
                return told
            case _:
                return f"{told}: {self.before or '(default)'} -> {self.after or '(default)'}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every difference but those of the texts, in a fixed order."""
    return [
        *_values("option", before["options"], after["options"]),
        *_values("parameter", before["parameters"], after["parameters"]),
        *_tasks(before["tasks"], after["tasks"]),
        *_edges(before["edges"], after["edges"]),
    ]


def _values(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if was is None:
            yield Change("added", what, name, after=now or "")
        elif now is None:
            yield Change("removed", what, name, before=was)
        else:
            yield Change("changed", what, name, was, now)


def _tasks(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was is None:
            yield Change("added", "task", name, after=_told(now))
        elif now is None:
            yield Change("removed", "task", name, before=_told(was))
        else:
            for option in sorted(was.keys() | now.keys()):
                if was.get(option) != now.get(option):
                    yield Change(
                        "changed", "task", f"{name} {option}", was.get(option, ""), now.get(option, "")
                    )


def _told(task: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (task or {}).items())


def _edges(before: list[Mapping[str, str]], after: list[Mapping[str, str]]) -> Iterator[Change]:
    was, now = ({_ends(edge): _kind(edge) for edge in edges} for edges in (before, after))
    for name in sorted(was.keys() | now.keys()):
        if name not in was:
            yield Change("added", "edge", name, after=now[name])
        elif name not in now:
            yield Change("removed", "edge", name, before=was[name])
        elif was[name] != now[name]:
            yield Change("changed", "edge", name, was[name] or "success", now[name] or "success")


def _ends(edge: Mapping[str, str]) -> str:
    return f"{edge['upstream']} -> {edge['downstream']}"


def _kind(edge: Mapping[str, str]) -> str:
    """How it counts; empty for success."""
    kind = "" if edge["kind"] == "success" else edge["kind"]
    return f"{kind}: {edge['condition']}" if edge["condition"] else kind


def source_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The texts of the file and of the modules beside it, as a unified diff without line ends."""
    was, now = _texts(before), _texts(after)
    if before["modules"] is None or after["modules"] is None:  # not known of one: nothing can be said of them
        was, now = {before["file"]: before["source"]}, {after["file"]: after["source"]}
    found: list[str] = []
    for path in sorted(was.keys() | now.keys()):
        found += difflib.unified_diff(
            was.get(path, "").splitlines(),
            now.get(path, "").splitlines(),
            f"a/{path}" if path in was else "/dev/null",
            f"b/{path}" if path in now else "/dev/null",
            lineterm="",
        )
    return found


def _texts(version: Mapping[str, Any]) -> dict[str, str]:
    """Texts by path relative to the project folder."""
    modules = {f"workflows/{path}": text for path, text in (version["modules"] or {}).items()}
    return {version["file"]: version["source"], **modules}
