"""Templates and mappings: how values of an event or a request become parameters or attributes, compiled once.

A template is any JSON value. A string that is a path (`$.data.amount`) gives the value there with its type; a
string with paths in braces (`order {$.data.id}`) gives text; `$$` is a `$`; `{path: "$.data.x", default: 5}`
gives the default (itself a template) where the path leads nowhere; `{cel: "data.x * 2"}` gives what the
expression evaluates to, and may have a default too; lists and mappings are templates of their members; all else
is itself.

Nothing here runs code of a user: a template is a closed tree of look-ups and bounded expressions. Values are
handed out as they lie in the event, never copied: whoever changes them must copy them first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Mapping as ABCMapping
from dataclasses import dataclass, field

from tidemill.errors import TidemillError
from tidemill.events.event import JSON
from tidemill.project.evaluation import NOTHING, Evaluate, MappingFailed, as_text, constant, read
from tidemill.project.lookups import Lookup, answer_lookup, enriched_lookup, event_lookup, request_lookup
from tidemill.project.paths import Path, PathProblem, parse_path, scan_path
from tidemill.project.roots import Root, root_problem

__all__ = [
    "NOTHING",
    "Lookup",
    "Mapping",
    "MappingFailed",
    "MappingProblem",
    "Root",
    "Template",
    "answer_lookup",
    "compile_mapping",
    "compile_template",
    "enriched_lookup",
    "event_lookup",
    "request_lookup",
]


#: Makes one root of another.
Cast = Callable[[Lookup], Lookup]

#: Deepest nesting of lists and mappings in a template.
_MAX_DEPTH = 64


class MappingProblem(TidemillError):  # noqa: N818 - named as `Problem` is
    """A template as written is refused; `problems` holds every problem as (JSON pointer into it, message)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems: tuple[tuple[str, str], ...] = tuple(problems)
        #: The first problem's place and text.
        self.pointer, self.message = self.problems[0]
        super().__init__("\n".join(f"{pointer or '/'}: {message}" for pointer, message in self.problems))


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One compiled template."""

    #: What was written.
    written: JSON
    #: Every path it reads and every expression in it, as written; empty for a constant.
    paths: tuple[str, ...]
    #: The value for one root; raises `MappingFailed` when a path without default leads nowhere.
    evaluate: Evaluate = field(repr=False)

    @property
    def is_constant(self) -> bool:
        """Whether its value depends on nothing."""
        return not self.paths


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Templates by name, evaluated together."""

    templates: ABCMapping[str, Template]
    _entries: tuple[tuple[str, Evaluate], ...] = field(repr=False)
    #: What makes of the root the one that the templates are written for; None takes it as it is.
    _cast: Cast | None = field(default=None, repr=False)

    def evaluate(self, root: Lookup) -> dict[str, JSON]:
        """Every template's value by name; raises `MappingFailed` where `Template.evaluate` does."""
        if self._cast is not None:
            root = self._cast(root)
        return {name: evaluate(root) for name, evaluate in self._entries}

    @property
    def written(self) -> dict[str, JSON]:
        """What was written."""
        return {name: template.written for name, template in self.templates.items()}


def compile_template(value: JSON, *, root: Root = "event", enriched: Collection[str] = ()) -> Template:
    """`value` as a template; raises `MappingProblem` with every problem and its place in `value`.

    `enriched` names the members that `$.enriched` will have.
    """
    compiler = _Compiler(root, enriched)
    evaluate = compiler.compile(value, "", 0)
    if compiler.problems:
        raise MappingProblem(compiler.problems)
    return Template(written=value, paths=tuple(compiler.paths), evaluate=evaluate)


def compile_mapping(
    value: ABCMapping[str, JSON],
    *,
    root: Root = "event",
    enriched: Collection[str] = (),
    cast: Cast | None = None,
) -> Mapping:
    """`value` as names to templates; raises `MappingProblem` with every problem and its place.

    `enriched` names the members that `$.enriched` will have; `cast` makes of each root the one that the
    templates read (an upcaster).
    """
    templates: dict[str, Template] = {}
    problems: list[tuple[str, str]] = []
    for name, written in value.items():
        try:
            templates[name] = compile_template(written, root=root, enriched=enriched)
        except MappingProblem as problem:
            problems.extend((f"{_below('', name)}{pointer}", text) for pointer, text in problem.problems)
    if problems:
        raise MappingProblem(problems)
    entries = tuple((name, template.evaluate) for name, template in templates.items())
    return Mapping(templates, entries, cast)


class _Compiler:
    """Turns one written value into closures, and gathers what is wrong with it."""

    def __init__(self, root: Root, enriched: Collection[str]) -> None:
        self._root = root
        self._enriched = enriched
        self.problems: list[tuple[str, str]] = []
        self.paths: list[str] = []

    def compile(self, value: JSON, pointer: str, depth: int) -> Evaluate:
        """The evaluation of `value`, which stands at `pointer`."""
        if depth > _MAX_DEPTH:
            self.problems.append((pointer, f"nested deeper than {_MAX_DEPTH} levels"))
            return constant(None)
        match value:
            case str():
                return self._text(value, pointer)
            case {"path": str() as path, "default": default, **rest} if not rest and _is_path(path):
                fallback = self.compile(default, f"{pointer}/default", depth + 1)
                return self._path(path, f"{pointer}/path", fallback)
            case {"cel": str() as text, **rest} if not set(rest) - {"default"}:
                return self._expression(text, value, pointer, depth)
            case dict():
                return self._object(value, pointer, depth)
            case list():
                return self._array(value, pointer, depth)
            case _:
                return constant(value)

    def _object(self, value: dict[str, JSON], pointer: str, depth: int) -> Evaluate:
        before = len(self.paths)
        members = [(k, self.compile(v, _below(pointer, k), depth + 1)) for k, v in value.items()]
        if len(self.paths) == before:
            return constant({name: member(NOTHING) for name, member in members})
        return lambda root: {name: member(root) for name, member in members}

    def _array(self, value: list[JSON], pointer: str, depth: int) -> Evaluate:
        before = len(self.paths)
        items = [self.compile(item, f"{pointer}/{i}", depth + 1) for i, item in enumerate(value)]
        if len(self.paths) == before:
            return constant([item(NOTHING) for item in items])
        return lambda root: [item(root) for item in items]

    def _text(self, text: str, pointer: str) -> Evaluate:
        if _is_path(text):
            return self._path(text, pointer, None)
        try:
            pieces = list(_pieces(text))
        except PathProblem as problem:
            self.problems.append((pointer, str(problem)))
            return constant(None)
        if all(isinstance(piece, str) for piece in pieces):
            return constant("".join(piece for piece in pieces if isinstance(piece, str)))
        parts = [
            constant(piece) if isinstance(piece, str) else self._reader(piece, pointer, None)
            for piece in pieces
        ]
        return lambda root: "".join([as_text(part(root)) for part in parts])

    def _expression(self, text: str, value: dict[str, JSON], pointer: str, depth: int) -> Evaluate:
        from tidemill.project.expressions import (
            ExpressionProblem,
            compile_expression,
        )  # few templates have one

        fallback = None
        if "default" in value:
            fallback = self.compile(value["default"], f"{pointer}/default", depth + 1)
        self.paths.append(text)
        try:
            return compile_expression(text, root=self._root, enriched=self._enriched, fallback=fallback)
        except ExpressionProblem as problem:
            self.problems.append((f"{pointer}/cel", str(problem)))
            return constant(None)

    def _path(self, text: str, pointer: str, fallback: Evaluate | None) -> Evaluate:
        try:
            path = parse_path(text)
        except PathProblem as problem:
            self.problems.append((pointer, str(problem)))
            return constant(None)
        return self._reader(path, pointer, fallback)

    def _reader(self, path: Path, pointer: str, fallback: Evaluate | None) -> Evaluate:
        self.paths.append(path.text)
        if problem := root_problem(path, self._root, self._enriched):
            self.problems.append((pointer, problem))
        return read(path, fallback)


def _is_path(text: str) -> bool:
    """Whether `text` is meant as a path: it begins with one `$`."""
    return text.startswith("$") and not text.startswith("$$")


def _pieces(text: str) -> Iterator[str | Path]:
    """Text and paths of an interpolated string, in order."""
    start = 0
    while (at := text.find("$", start)) >= 0:
        if text.startswith("$$", at):
            yield text[start : at + 1]
            start = at + 2
        elif at > start and text[at - 1] == "{":
            yield text[start : at - 1]
            path, end = scan_path(text, at)
            if not text.startswith("}", end):
                raise PathProblem(
                    f"the path {{{path.text} is not closed by a }} (for a plain {{$ write {{$$)"
                )
            yield path
            start = end + 1
        else:
            yield text[start : at + 1]
            start = at + 1
    yield text[start:]


def _below(pointer: str, key: str) -> str:
    """The JSON pointer of member `key` below `pointer` (RFC 6901)."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
