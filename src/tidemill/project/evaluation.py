"""How compiled templates are evaluated: closures that look up and never run what a user wrote."""

from __future__ import annotations

import json
from collections.abc import Callable

from tidemill.errors import TidemillError
from tidemill.events.event import JSON
from tidemill.project.lookups import Lookup
from tidemill.project.paths import Path

__all__ = ["NOTHING", "Evaluate", "MappingFailed", "as_text", "constant", "read"]

#: The value of a template for one root.
Evaluate = Callable[[Lookup], JSON]


class MappingFailed(TidemillError):  # noqa: N818 - named as its code is
    """The value at `path` is missing and the mapping names no default (code `mapping_failed`)."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"there is no value at {path}; send it, or give the mapping a default")


def read(path: Path, fallback: Evaluate | None) -> Evaluate:
    """The look-up of `path`; short paths get a closure without a loop."""
    text, parts = path

    def missing(root: Lookup) -> JSON:
        if fallback is None:
            raise MappingFailed(text) from None
        return fallback(root)

    if not parts:
        return lambda root: root.whole()
    if any(isinstance(part, int) for part in parts) or len(parts) > 2:
        return _read_long(parts, missing)
    return _read_short([str(part) for part in parts], missing)


def _read_short(keys: list[str], missing: Evaluate) -> Evaluate:
    if len(keys) == 1:
        (only,) = keys

        def read_one(root: Lookup) -> JSON:
            try:
                return root[only]
            except KeyError:
                return missing(root)

        return read_one
    first, second = keys

    def read_two(root: Lookup) -> JSON:
        try:
            return root[first][second]
        except (KeyError, TypeError):
            return missing(root)

    return read_two


def _read_long(parts: tuple[str | int, ...], missing: Evaluate) -> Evaluate:
    first, rest = str(parts[0]), parts[1:]

    def read(root: Lookup) -> JSON:
        try:
            value = root[first]
            for part in rest:
                # An index into text would give a character: only lists have places.
                if part.__class__ is int and value.__class__ is not list:
                    return missing(root)
                value = value[part]
        except (KeyError, TypeError, IndexError):
            return missing(root)
        return value

    return read


class _Nothing:
    """The root of templates that read nothing."""

    def __getitem__(self, name: str, /) -> JSON:
        raise KeyError(name)

    def whole(self) -> JSON:
        return None


#: `$` where there is nothing: what constants are evaluated on.
NOTHING: Lookup = _Nothing()


def constant(value: JSON) -> Evaluate:
    return lambda _root: value


def as_text(value: JSON) -> str:
    """`value` inside text: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
