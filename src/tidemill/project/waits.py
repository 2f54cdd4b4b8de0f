"""What DAGs wait for: the patterns and forms of their waits, compiled or refused.

`dag` keeps a pattern as it was written, because what it means is not its business; here it gets the meaning that it has
in a trigger, in every dialect. A form is a JSON Schema: what is filled in is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.dag.wait_spec import WaitKind
from tidemill.errors import Problem
from tidemill.events.event import Event
from tidemill.patterns.rule import PatternError, Rule, combine
from tidemill.project.rules import RULE_FIELDS
from tidemill.runs.waits import event_key

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["WaitPattern", "compile_body", "form_problems", "pattern_bodies", "unknown_dags", "wait_problems"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class WaitPattern:
    """Events that somebody waits for, ready to be matched."""

    name: str
    rule: Rule
    paths: tuple[str, ...]

    def key(self, event: Event) -> str | None:
        """The key of an event that matches the rule."""
        return event_key(self.name, self.paths, event)


def pattern_bodies(dag: Dag) -> dict[str, bytes]:
    """What the waits of a DAG wait for, by the names under which it is kept."""
    found: dict[str, bytes] = {}
    for index in sorted(dag.waits):
        spec = dag.tasks[index].wait
        if spec is not None and (name := spec.pattern) is not None:
            found[name] = spec.body
    return found


def compile_body(name: str, body: bytes) -> WaitPattern:
    """A kept pattern, to be matched; raises `PatternError`."""
    written = orjson.loads(body)
    return WaitPattern(name, _compile_rule(written["rule"]), tuple(written["paths"]))


def wait_problems(dag: Dag) -> Iterator[Problem]:
    """Everything that is wrong with what a DAG waits for."""
    for index in sorted(dag.waits):
        node = dag.tasks[index]
        if node.wait is None:
            continue
        for message in (*_rule_problems(node.wait.rule), *_form_problems(node.wait.form)):
            yield Problem(dag.file, node.line, f"DAG {dag.dag_id!r}: task {node.task_id!r}: {message}")


def unknown_dags(dags: Mapping[str, Dag]) -> Iterator[Problem]:
    """DAGs that are started inside of others by a name that none of these has."""
    for dag in dags.values():
        for index in sorted(dag.waits):
            node = dag.tasks[index]
            name = (
                node.kwargs.get("dag") if node.wait is not None and node.wait.kind is WaitKind.RUN else None
            )
            if isinstance(name, str) and name not in dags:
                text = f"DAG {dag.dag_id!r}: task {node.task_id!r} starts DAG {name!r}, which is not there"
                yield Problem(dag.file, node.line, text)


def form_problems(form: bytes, data: Any) -> list[tuple[str, str]]:
    """What is wrong with what was filled in: (JSON pointer, sentence) of everything; nothing for no form."""
    validator = _validator(form)
    if validator is None:
        return []
    found: list[tuple[str, str]] = []
    for error in validator.iter_errors(data):
        if len(found) == _SHOWN:
            break
        found.append(("".join(f"/{step}" for step in error.instance_path), error.message))
    return found


def _rule_problems(rule: Mapping[str, Any]) -> Iterator[str]:
    for name, written in rule.items():
        kind, compiler = RULE_FIELDS[name]
        if not isinstance(written, kind):
            yield f"{name} must be a {kind.__name__}, not {type(written).__name__}"
            continue
        try:
            compiler(written)
        except PatternError as error:
            for pointer, message in error.problems:
                yield f"{name}{pointer}: {message}"


def _compile_rule(rule: Mapping[str, Any]) -> Rule:
    return combine(*(RULE_FIELDS[name][1](written) for name, written in rule.items()))


def _form_problems(form: Any) -> Iterator[str]:
    if form is None:
        return
    import jsonschema_rs

    try:
        _validator(orjson.dumps(form))
    except (TypeError, ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        yield f"form is no JSON Schema: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


@lru_cache(maxsize=256)
def _validator(form: bytes) -> jsonschema_rs.Validator | None:
    schema = orjson.loads(form)
    if schema is None:
        return None
    import jsonschema_rs

    # Nothing is fetched from anywhere, and patterns are matched in linear time.
    return jsonschema_rs.validator_for(
        schema, retriever=_refuse, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _refuse(uri: str) -> Any:
    raise ValueError(f"a form refers to nothing outside itself ({uri})")
