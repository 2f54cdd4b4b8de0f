"""Reads `schemas/*.json`: JSON Schemas of event data, compiled once, by `$id` (the event's `dataschema`).

Compiling never fetches anything: a reference leads to another schema of the folder or is a problem. Patterns
use a linear-time engine, so that a schema cannot make an event expensive.

What Tidemill should do with a schema stands in the schema itself, under the keyword `x-tidemill`, which
validators pass over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tidemill.errors import Problem
from tidemill.events.event import JSON
from tidemill.project import yaml_text
from tidemill.project.door import EventSchema
from tidemill.project.entry import pointer_to
from tidemill.project.folders import definition_files, read_definition, relative_name
from tidemill.project.schema_use import SchemaUse, read_use
from tidemill.project.upcast import Step, Upcasts

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["FOLDER", "PUBLISHED_PREFIX", "Schemas", "load_schemas"]

#: Folder of the schemas in a project.
FOLDER = "schemas"
#: `$id` of the schemas that Tidemill publishes for editors; they say nothing of events.
PUBLISHED_PREFIX = "https://tidemill.dev/schemas/"

_SUFFIXES = frozenset({".json"})
_LIMIT = yaml_text.MAX_BYTES
#: Stands in messages for what was sent, which may be a secret.
_MASK = "the value"
#: What stands before a relative reference when the referring schema's `$id` is relative too.
_NO_BASE = "json-schema:///"


@dataclass(slots=True)
class Schemas:
    """What the schema files say, and what is wrong with them."""

    #: Compiled schema by `$id`.
    validators: dict[str, jsonschema_rs.Validator] = field(default_factory=dict)
    #: Schema by `$id`, as written.
    written: dict[str, JSON] = field(default_factory=dict)
    #: What `x-tidemill` of each schema says, by `$id`.
    uses: dict[str, SchemaUse] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def checked(self) -> list[EventSchema]:
        """The schemas as sources ask them, in the order of their files."""
        return [
            EventSchema(
                identity=identity,
                validator=validator,
                types=self.uses[identity].types,
                on_violation=self.uses[identity].on_violation,
            )
            for identity, validator in self.validators.items()
            if identity in self.uses
        ]

    @property
    def upcasts(self) -> Upcasts:
        """The declared ways from older schemas to newer ones."""
        steps = {name: Step(use.upcast_to, use.upcast) for name, use in self.uses.items() if use.upcast}
        return Upcasts(steps)


def load_schemas(root: Path) -> Schemas:
    """Everything below `root/schemas`; a missing folder says nothing."""
    found = Schemas()
    files: dict[str, tuple[str, bytes]] = {}
    for path in definition_files(root / FOLDER, _SUFFIXES):
        _read(path, root, found, files)
    for identity, schema in found.written.items():
        file, content = files[identity]
        validator = _compile(schema, found.written, file=file, content=content)
        if isinstance(validator, Problem):
            found.problems.append(validator)
        else:
            found.validators[identity] = validator
        use = read_use(schema, known=found.written)
        found.uses[identity] = use
        found.problems.extend(_placed(file, content, at, message) for at, message in use.problems)
    _note_circles(found, files)
    return found


def _note_circles(found: Schemas, files: Mapping[str, tuple[str, bytes]]) -> None:
    """Note every upcast that leads back to where it began."""
    for identity, use in found.uses.items():
        seen, at = [identity], use.upcast_to
        while at in found.uses and at not in seen:
            seen.append(at)
            at = found.uses[at].upcast_to
        if at == identity:
            file, content = files[identity]
            way = " → ".join([*seen, at])
            found.problems.append(
                _placed(file, content, "/x-tidemill/upcast/to", f"upcasts in a circle: {way}")
            )


def _read(path: Path, root: Path, found: Schemas, files: dict[str, tuple[str, bytes]]) -> None:
    """Take one file's schema into `found`, or what is wrong with it."""
    file = relative_name(path, root)
    content = read_definition(path, root, max_bytes=_LIMIT)
    if isinstance(content, Problem):
        found.problems.append(content)
        return
    try:
        schema = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        found.problems.append(Problem(file, error.lineno, f"not JSON: {error.msg}", error.colno))
        return
    if not isinstance(schema, dict):
        found.problems.append(Problem(file, 1, "a schema is a JSON object", 1))
        return
    identity = schema.get("$id")
    if not isinstance(identity, str) or not identity:
        message = "'$id' is missing: it is the dataschema of the events that the schema describes"
        found.problems.append(Problem(file, 1, message, 1))
    elif identity in files:
        message = f"schema {identity!r} is defined twice: here and in {files[identity][0]}"
        found.problems.append(_placed(file, content, "/$id", message))
    elif not identity.startswith(PUBLISHED_PREFIX):
        found.written[identity] = schema
        files[identity] = (file, content)


def _compile(
    schema: JSON, schemas: Mapping[str, JSON], *, file: str, content: bytes
) -> jsonschema_rs.Validator | Problem:
    import jsonschema_rs

    def retrieve(uri: str) -> JSON:
        """A schema that another one refers to: from the folder, never from elsewhere."""
        try:
            return schemas[uri.removeprefix(_NO_BASE)]
        except KeyError:
            raise ValueError(f"there is no schema {uri!r} in {FOLDER}/") from None

    def compiled(mask: str | None) -> jsonschema_rs.Validator:
        return jsonschema_rs.validator_for(
            schema,
            retriever=retrieve,
            validate_formats=True,
            pattern_options=jsonschema_rs.RegexOptions(),
            mask=mask,
        )

    try:
        compiled(None)  # a mask would hide what is wrong with the schema, too
        return compiled(_MASK)
    except jsonschema_rs.ValidationError as error:
        message = f"not a usable JSON Schema: {_clip(error.message)}"
        return _placed(file, content, pointer_to(*error.instance_path), message)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return Problem(file, 0, f"not a usable JSON Schema: {_clip(str(error))}")


def _placed(file: str, content: bytes, pointer: str, message: str) -> Problem:
    """A problem at `pointer`; JSON is read as YAML to find its place, else the file alone is named."""
    try:
        place = yaml_text.read_yaml(content).place(pointer)
    except yaml_text.YamlRefused:
        return Problem(file, 0, message)
    return Problem(file, place.line, message, place.column)


def _clip(text: str) -> str:
    return " ".join(text.split())[:300]
