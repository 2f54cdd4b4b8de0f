"""YAML as the user's files may be written: one document, plain JSON values, the place of everything in it.

1. Scalars follow YAML 1.2's core schema: `true`/`false` are the only booleans (`yes`, `on` and `no` are
   text), `010` is ten, dates and times are text. What JSON cannot hold (`.nan`, integers beyond 64 bits) is
   refused.
2. No anchors, aliases or tags; no duplicate keys; keys are text; at most 1 MiB, 64 levels, one document.
3. Built from parser events without recursion, so that no input can exhaust the stack, and memory follows the
   text. Everything wrong is gathered; only what keeps the parser from going on ends the reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from tidemill.errors import TidemillError
from tidemill.events.event import JSON
from tidemill.project.yaml_scalars import clip, resolve

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "Place",
    "YamlProblem",
    "YamlRefused",
    "YamlText",
    "read_yaml",
    "written_in_code",
]

#: Largest definition file.
MAX_BYTES = 1 << 20
#: Deepest nesting of lists and mappings.
MAX_DEPTH = 64

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(NamedTuple):
    """Where something is written; both count from 1."""

    line: int
    column: int


class YamlProblem(NamedTuple):
    """One thing wrong in a YAML text."""

    place: Place
    message: str


class YamlRefused(TidemillError):  # noqa: N818 - named as `EventRejected` is
    """The text is no definition file; `problems` holds everything wrong with it, in order of place."""

    def __init__(self, problems: list[YamlProblem]) -> None:
        self.problems: tuple[YamlProblem, ...] = tuple(sorted(problems))
        super().__init__("\n".join(f"{p.place.line}:{p.place.column}: {p.message}" for p in self.problems))


@dataclass(slots=True)
class _Node:
    """The place of one value and of its members."""

    place: Place
    members: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class YamlText:
    """One text, read."""

    #: The plain value; None for an empty text.
    value: JSON
    _places: _Node

    def place(self, pointer: str) -> Place:
        """Where the member at the JSON pointer begins (a mapping's member at its key).

        Of what is not there (a missing field), the place of the nearest thing around it.
        """
        node = self._places
        for part in pointer.split("/")[1:]:
            below = node.members.get(part.replace("~1", "/").replace("~0", "~"))
            if below is None:
                break
            node = below
        return node.place


def written_in_code(value: JSON, line: int) -> YamlText:
    """A value that stands in a Python file: all of it is at that line."""
    return YamlText(value, _Node(Place(line, 1)))


def read_yaml(text: bytes) -> YamlText:
    """`text` (UTF-8) as one plain value with places; raises `YamlRefused` with everything wrong."""
    if len(text) > MAX_BYTES:
        raise _refused(Place(1, 1), f"the file has {len(text)} bytes; at most {MAX_BYTES} are read")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _refused(Place(line, 1), "the file is not UTF-8 text") from error
    builder = _Builder()
    try:
        for event in yaml.parse(decoded, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        builder.problems.append(YamlProblem(_place(error.problem_mark or error.context_mark), _syntax(error)))
        # The C parser reads ahead and has a limit of its own, which it may meet before events come to ours.
        if "nesting depth" in (error.problem or ""):
            builder.problems[-1] = builder.problems[-1]._replace(message=_TOO_DEEP)
    except yaml.reader.ReaderError as error:
        builder.problems.append(_unreadable(decoded, error))
    except _Hopeless:
        pass
    if builder.problems:
        raise YamlRefused(builder.problems)
    return YamlText(builder.value, builder.root)


class _Hopeless(Exception):  # noqa: N818 - a signal of the builder to itself
    """Reading on would add nothing; the problem is gathered already."""


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being filled."""

    value: Any
    node: _Node
    #: A mapping's key that waits for its value (None: a key comes next).
    key: str | None = None
    #: False while the key that waits was refused: its value is read and forgotten.
    keep: bool = True


class _Builder:
    """Turns parser events into a value with places; gathers problems."""

    def __init__(self) -> None:
        self.value: JSON = None
        self.root = _Node(Place(1, 1))
        self.problems: list[YamlProblem] = []
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        """One more event."""
        place = _place(event.start_mark)
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(place)
            case yaml.AliasEvent():
                self._problem(
                    place, f"aliases (*{clip(event.anchor or '')}) are not read; write the value out"
                )
                self._add(None, _Node(place))
            case yaml.ScalarEvent():
                self._refuse_properties(event, place)
                self._scalar(event, place)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._refuse_properties(event, place)
                self._begin([] if isinstance(event, yaml.SequenceStartEvent) else {}, place)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()

    def _problem(self, place: Place, message: str) -> None:
        self.problems.append(YamlProblem(place, message))

    def _start_document(self, place: Place) -> None:
        self._documents += 1
        if self._documents > 1:
            self._problem(place, "a file holds one document; remove the --- line and what follows it")
            raise _Hopeless

    def _refuse_properties(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._problem(place, f"anchors (&{clip(event.anchor or '')}) are not read; write the value out")
        if event.tag is not None:
            self._problem(place, f"tags ({clip(event.tag)}) are not read")

    def _scalar(self, event: Any, place: Place) -> None:
        plain = event.implicit[0] and not event.style
        try:
            value = resolve(event.value) if plain else event.value
        except ValueError as error:
            self._problem(place, str(error))
            value = None
        self._add(value, _Node(place))

    def _begin(self, value: Any, place: Place) -> None:
        if len(self._open) == MAX_DEPTH:
            self._problem(place, _TOO_DEEP)
            raise _Hopeless
        node = _Node(place)
        node = self._add(value, node)
        self._open.append(_Open(value, node))

    def _add(self, value: JSON, node: _Node) -> _Node:
        """Put `value` where it belongs; the node that holds its place."""
        if not self._open:
            self.value, self.root = value, node
            return node
        around = self._open[-1]
        if isinstance(around.value, list):
            around.node.members[str(len(around.value))] = node
            around.value.append(value)
        elif around.key is None:
            self._key(around, value, node.place)
        else:
            node = self._member(around, around.key, value, node)
        return node

    def _key(self, around: _Open, value: JSON, place: Place) -> None:
        around.keep = isinstance(value, str)
        around.key = value if isinstance(value, str) else ""
        if not isinstance(value, str):
            self._problem(place, "a key must be text; put it in quotes")
        elif (first := around.node.members.get(value)) is not None:
            around.keep = False
            self._problem(place, f"duplicate key {clip(value)!r}; it is at line {first.place.line} already")
        else:
            around.node.members[value] = _Node(place)

    def _member(self, around: _Open, key: str, value: JSON, node: _Node) -> _Node:
        around.key = None
        if not around.keep:
            return node
        around.value[key] = value
        return around.node.members[key]


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


def _refused(place: Place, message: str) -> YamlRefused:
    return YamlRefused([YamlProblem(place, message)])


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """The parser's complaint as one sentence."""
    parts = [part.strip() for part in (error.context, error.problem) if part]
    return "not YAML: " + (", ".join(parts) or "it cannot be parsed")


def _unreadable(text: str, error: yaml.reader.ReaderError) -> YamlProblem:
    """A control character, which YAML forbids."""
    at = next((i for i, char in enumerate(text) if _forbidden(char)), 0)
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return YamlProblem(Place(line, column), f"not YAML: {error.reason}")


def _forbidden(char: str) -> bool:
    """Whether YAML forbids `char` (YAML 1.2.2, section 5.1)."""
    code = ord(char)
    if code < 0x20:
        return char not in "\t\n\r"
    return (0x7F <= code <= 0x9F and code != 0x85) or code in (0xFFFE, 0xFFFF)
